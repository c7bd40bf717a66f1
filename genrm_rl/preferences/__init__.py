"""Preference pairs: types, readers, splits, leak checks, and the controlled task world."""
