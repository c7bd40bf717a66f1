"""The judges behind the service: their replicas, what these remember, and how one judge takes over from another."""
