"""Runs of every kind as people look at them: live while they go on, and side by side."""
