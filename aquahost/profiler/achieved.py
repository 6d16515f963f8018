"""What of a data sheet's rates programs get, for profiles that are worked out instead of measured."""

from __future__ import annotations

COST_MODEL = 1
"""Part of every analytic profile's key; raised whenever a constant or a formula changes."""

MEMORY_SHARE = 0.8
"""Of the HBM's printed bandwidth, reading weights and KV: large copies and decode kernels reach 75 to 90 % of it."""
FLOPS_SHARE = 0.55
"""Of the printed dense bfloat16 rate, in matrix products of hundreds of rows and more: prefill and denoising in
well-made engines run at 50 to 65 % of an A100's or H100's, attention and element-wise kernels included."""
FLOAT32_FLOPS = 1 / 16
"""Of the bfloat16 rate where a model computes in float32 (19.5 of 312 TFLOPS on an A100, 67 of 989 on an H100)."""
TENSOR_FLOAT32_FLOPS = 0.5
"""Of the bfloat16 rate where only a part computes in float32: convolutions then use TensorFloat32 units."""
STEP_HOST_S = 1.0e-3
"""Of every step: planning it, its inputs and the choice of tokens, which the GPU waits for."""
LAYER_LAUNCH_S = 20e-6
"""Of every layer: gaps between its ten or so kernels, with their launches captured or hidden."""
OPERATOR_LAUNCH_S = 6e-6
"""Of each operator of an image or audio model, which PyTorch launches one by one from Python."""
TRANSFER_HOST_S = 50e-6
"""The pager's own work for one prompt's way out or in: finding blocks, a batched copy's launch, an event."""
REDUCE_LATENCIES = 2.0
"""Link latencies in one all-reduce over NVSwitch: values go out to all, and sums come back."""
REDUCES_PER_LAYER = 2
"""All-reduces of a tensor-parallel layer: after attention, after the MLP (Megatron-LM, Shoeybi et al. 2019)."""


def memory_rate(memory_bytes_per_s: float) -> float:
    """Achievable bytes a second of HBM."""
    return MEMORY_SHARE * memory_bytes_per_s


def flops_rate(flops: float, dtype_bytes: int) -> float:
    """Achievable operations a second in numbers of that size."""
    return FLOPS_SHARE * flops * (FLOAT32_FLOPS if dtype_bytes > 2 else 1.0)
