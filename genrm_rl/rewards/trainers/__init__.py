"""Reward functions that other trainers call in their own process; they ask the running service."""
