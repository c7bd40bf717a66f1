"""Contracts of other trainers and clients, in their own words."""
