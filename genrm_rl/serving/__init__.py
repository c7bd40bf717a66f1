"""The judge as a service on Ray Serve: replicas around vLLM, an HTTP ingress, and its wire contracts."""
