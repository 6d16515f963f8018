"""Calling the driver: a failed call raises, and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_HINTS = {
    "CUDA_ERROR_OUT_OF_MEMORY": "the GPU has not enough free memory",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "the GPU is lost or in use by someone else; see nvidia-smi",
    "CUDA_ERROR_INVALID_CONTEXT": "no GPU is current in this thread; call Device.activate() in it first",
    "CUDA_ERROR_INVALID_DEVICE": "no such GPU, or it can't reach that memory",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "the GPU touched memory that is not mapped; its process must be restarted",
    "CUDA_ERROR_ECC_UNCORRECTABLE": "the GPU's memory is faulty; its process must be restarted",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE": "an NVLink failed; see nvidia-smi nvlink --status",
    "CUDA_ERROR_OPERATING_SYSTEM": "out of file descriptors (ulimit -n), mappings (vm.max_map_count) or disk",
    "CUDA_ERROR_NOT_PERMITTED": "the process may not do this; in a container, check its capabilities",
    "CUDA_ERROR_NOT_SUPPORTED": "this GPU or driver can't do it",
    "CUDA_ERROR_SYSTEM_NOT_READY": "the system is not ready; is nvidia-fabricmanager running?",
    "NVML_ERROR_GPU_IS_LOST": "reset the GPU, or the machine",
    "NVML_ERROR_RESET_REQUIRED": "reset the GPU, or the machine",
}
_GPU_IS_LOST = frozenset(
    {
        "CUDA_ERROR_DEVICE_UNAVAILABLE",
        "CUDA_ERROR_NO_DEVICE",
        "CUDA_ERROR_INVALID_DEVICE",
        "CUDA_ERROR_ECC_UNCORRECTABLE",
        "NVML_ERROR_GPU_IS_LOST",
        "NVML_ERROR_RESET_REQUIRED",
        "NVML_ERROR_GPU_NOT_FOUND",
    }
)


class DriverError(Exception):
    """A driver call failed."""

    def __init__(self, call: str, name: str) -> None:
        hint = _HINTS.get(name)
        super().__init__(f"{call} failed with {name}" + (f": {hint}" if hint else ""))
        self.call = call
        """The function, such as "cuMemCreate"."""
        self.name = name
        """The result code, such as "CUDA_ERROR_INVALID_VALUE"."""

    @property
    def means_loss(self) -> bool:
        """Whether the GPU that was called for is gone or broken, from a call that concerns that GPU alone. Any other
        error (no memory, a failed context) may pass while the GPU is well.
        """
        return self.name in _GPU_IS_LOST


class OutOfMemoryError(DriverError):
    """CUDA_ERROR_OUT_OF_MEMORY: a GPU's memory, or the address space, has no room."""


def call(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> Any:
    """Call a driver function and return its value: None, one value, or a tuple of several.

    Raises DriverError, or OutOfMemoryError.
    """
    status, *values = function(*arguments)
    if status != 0:
        raise _error(function, status)
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def is_done(function: Callable[..., tuple[Any, ...]], *arguments: Any) -> bool:
    """Whether a query (cuEventQuery, cuStreamQuery) finds its work done. Raises DriverError if that work failed."""
    status = function(*arguments)[0]
    if status == 0:
        return True
    if _name(status) == "CUDA_ERROR_NOT_READY":
        return False
    raise _error(function, status)


def _error(function: Callable[..., Any], status: Any) -> DriverError:
    name = _name(status)
    kind = OutOfMemoryError if name == "CUDA_ERROR_OUT_OF_MEMORY" else DriverError
    return kind(getattr(function, "__name__", str(function)), name)


def _name(status: Any) -> str:
    return str(getattr(status, "name", f"CUresult {status}"))
