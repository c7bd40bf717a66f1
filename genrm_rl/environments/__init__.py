"""Environments of many turns for agents: the protocol, adapters, and policies that need no model. Pure: no Ray, no
torch, no vLLM."""
