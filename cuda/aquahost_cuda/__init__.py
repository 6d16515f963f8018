"""The device layer: GPUs, memory mapped into one address range, and asynchronous copies.

Knows nothing of models, of torch, or of the rest of aquahost.
"""
