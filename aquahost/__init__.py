"""aquahost: one server, many generative models, idle GPUs lending their memory to busy ones."""

__version__ = "0.1.0"
