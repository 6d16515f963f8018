"""NVIDIA's management library: what is known of GPUs and their links without a context on them."""

from __future__ import annotations

from typing import Any

from aquahost_cuda.check import DriverError

_ENABLED = 1  # NVML_FEATURE_ENABLED
_LOSSES = {15: "NVML_ERROR_GPU_IS_LOST", 16: "NVML_ERROR_RESET_REQUIRED", 28: "NVML_ERROR_GPU_NOT_FOUND"}
_P2P_PROBLEMS = {  # nvmlGpuP2PStatus_t
    1: "the chipset does not support it",
    2: "the GPU does not support it",
    3: "the I/O hubs between the GPUs do not support it",
    4: "a registry key of the driver disables it",
    5: "it is not supported",
}


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
            name = _LOSSES.get(int(error.status), str(error))
            raise DriverError("nvmlDeviceGetMemoryInfo_v2", name) from error

    def why_no_p2p(self, gpu: Any, peer: Any) -> str | None:
        """Why a GPU can't read and write another's memory, in words; None if it can, or if that is not known."""
        kinds = self._library.GpuP2PCapsIndex
        for kind, verb in ((kinds.READ, "read"), (kinds.WRITE, "write")):
            status = self._p2p_status(gpu, peer, kind)
            if status:
                return f"it can't {verb} there: {_P2P_PROBLEMS.get(status, f'NVML says {status}')}"
        return None

    def has_nvlink(self, gpu: Any, peer: Any) -> bool:
        """Whether two GPUs reach each other over NVLink, directly or through switches.

        The P2P status says so in either case; the remote ends of a GPU's links are switches where there are any.
        """
        return self._p2p_status(gpu, peer, self._library.GpuP2PCapsIndex.NVLINK) == 0

    def active_nvlinks(self, gpu: Any) -> int:
        """How many of a GPU's NVLinks are up."""
        active = 0
        for link in range(int(self._library.NVLINK_MAX_LINKS)):
            try:
                active += int(self._library.device_get_nvlink_state(gpu, link) == _ENABLED)
            except self._library.NvmlError:  # no such link
                break
        return active

    def fabric_state(self, gpu: Any) -> str | None:
        """How far a GPU's registration with the NVLink fabric has come: NOT_STARTED, IN_PROGRESS or COMPLETED; None
        where it needs none, as without NVSwitch, or where it can't be read.
        """
        try:
            state = int(self._library.device_get_gpu_fabric_info_v(gpu).state)
        except (self._library.NvmlError, AttributeError):  # an older driver, or older bindings
            return None
        states = self._library.GpuFabricState
        return None if state == states.NOT_SUPPORTED else str(states(state).name)

    def close(self) -> None:
        """Let the library go; more than once is harmless."""
        if self._open:
            self._open = False
            self._library.shutdown()

    def _p2p_status(self, gpu: Any, peer: Any, kind: Any) -> int | None:
        """nvmlGpuP2PStatus_t; None where it can't be read."""
        try:
            return int(self._library.device_get_p2p_status(gpu, peer, int(kind)))
        except self._library.NvmlError:
            return None


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
