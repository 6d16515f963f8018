"""The functions of cuda.bindings.driver over host memory: a node of GPUs on any Linux machine."""
