"""NVIDIA's management library: a GPU's memory without a context on it."""

from __future__ import annotations

from typing import Any

from aquahost_cuda.check import DriverError


class Nvml:
    """The library in use by this process, from `open_nvml` to `close`."""

    def __init__(self, library: Any) -> None:
        """Take over cuda.bindings.nvml, initialised."""
        self._library = library
        self._open = True

    def find(self, uuid: str) -> Any:
        """The library's handle of a GPU, or None if it knows not it, or not its memory (integrated GPUs, some vGPUs).

        CUDA numbers the visible GPUs and NVML all of them, so only the UUID means the same to both. A MIG instance
        has a UUID of another form and is not found.
        """
        try:
            gpu = self._library.device_get_handle_by_uuid(uuid)
            self._library.device_get_memory_info_v2(gpu)
        except self._library.NvmlError:
            return None
        return gpu

    def free_bytes(self, gpu: Any) -> int:
        """Free memory of a GPU by handle. Raises DriverError."""
        try:
            return int(self._library.device_get_memory_info_v2(gpu).free)
        except self._library.NvmlError as error:
            raise DriverError("nvmlDeviceGetMemoryInfo_v2", str(error)) from error

    def close(self) -> None:
        """Let the library go; more than once is harmless."""
        if self._open:
            self._open = False
            self._library.shutdown()


def open_nvml() -> Nvml | None:
    """The library, or None where the bindings or the driver lack it."""
    try:
        from cuda.bindings import nvml
    except ImportError:
        return None
    try:
        nvml.init_v2()
    except (nvml.NvmlError, RuntimeError, OSError):
        return None
    return Nvml(nvml)
