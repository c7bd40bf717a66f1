"""Train a generative reward model, serve it, and align a policy against it, on Ray."""

__version__ = "0.1.0"
