"""aquahost: one server, one daemon, many generative models."""

__version__ = "0.1.0"
