"""Calls about GPUs, contexts and result codes."""

from __future__ import annotations

import hashlib
from typing import Any

from aquahost_cuda.emulated.refusal import Refused, answers_nothing, answers_pair, answers_value, require
from aquahost_cuda.emulated.state import GRANULARITY_BYTES, State, number
from aquahost_cuda.emulated.streams import Context
from aquahost_cuda.emulated.types import (
    CUcontext,
    CUdevice,
    CUdevice_attribute,
    CUdevice_P2PAttribute,
    CUresult,
    CUuuid,
)

DRIVER_VERSION = 13000
_P2P = CUdevice_P2PAttribute
_ATTRIBUTE = CUdevice_attribute
_ATTRIBUTES = {
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: 132,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID: 0,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID: 0,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT: 3,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: 1,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: 9,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: 0,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_VIRTUAL_ADDRESS_MANAGEMENT_SUPPORTED: 1,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED: 1,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID: -1,  # one node for all
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: 1,
    _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED: 1,
}


class DeviceCalls:
    """Part of the emulated driver."""

    def __init__(self, state: State) -> None:
        self._state = state

    @answers_nothing
    def cuInit(self, Flags: int) -> None:
        """Must come before anything else."""
        require(Flags == 0)
        self._state.initialised = True

    @answers_value
    def cuDriverGetVersion(self) -> int:
        """1000 times the major version plus 10 times the minor."""
        return DRIVER_VERSION

    @answers_value
    def cuGetErrorName(self, error: CUresult) -> bytes:
        """The code's name."""
        return _code(error).name.encode()

    @answers_value
    def cuGetErrorString(self, error: CUresult) -> bytes:
        """The code in words."""
        return _code(error).name.removeprefix("CUDA_").replace("_", " ").lower().encode()

    @answers_value
    def cuDeviceGet(self, ordinal: int) -> CUdevice:
        """A GPU by number."""
        return CUdevice(self._state.gpu(ordinal))

    @answers_value
    def cuDeviceGetCount(self) -> int:
        """The number of GPUs."""
        require(self._state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        return self._state.node.gpus

    @answers_value
    def cuDeviceGetName(self, length: int, dev: Any) -> bytes:
        """A name in a buffer of `length` bytes, ended by a zero byte; what follows it means nothing."""
        self._state.gpu(dev)
        require(length > 0)
        return (b"Emulated GPU"[: length - 1] + b"\0").ljust(length)

    @answers_value
    def cuDeviceGetUuid(self, dev: Any) -> CUuuid:
        """The same for all processes that open this node."""
        uuid = CUuuid()
        uuid.bytes = hashlib.sha256(f"{self._state.tag}/{self._state.gpu(dev)}".encode()).digest()[:16]
        return uuid

    @answers_value
    def cuDeviceTotalMem(self, dev: Any) -> int:
        """Bytes of a GPU's memory."""
        self._state.gpu(dev)
        return self._state.node.gpu_bytes

    @answers_value
    def cuDeviceGetAttribute(self, attrib: CUdevice_attribute, dev: Any) -> int:
        """One of a GPU's figures."""
        gpu = self._state.gpu(dev)
        if attrib == _ATTRIBUTE.CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
            return gpu + 1
        value = _ATTRIBUTES.get(attrib)
        if value is None:
            raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE)
        return value

    @answers_value
    def cuDeviceCanAccessPeer(self, dev: Any, peerDev: Any) -> int:
        """1 if `dev` can reach memory of `peerDev`; 0 for a GPU and itself."""
        return int(self._state.peer_allowed(self._state.gpu(dev), self._state.gpu(peerDev)))

    @answers_value
    def cuDeviceGetP2PAttribute(self, attrib: CUdevice_P2PAttribute, srcDevice: Any, dstDevice: Any) -> int:
        """A figure of the link; performance rank 0 is the best."""
        source, target = self._state.gpu(srcDevice), self._state.gpu(dstDevice)
        require(source != target, CUresult.CUDA_ERROR_INVALID_DEVICE)
        require(attrib in set(_P2P))
        if attrib == _P2P.CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
            return int(self._state.links.slowdown((source, target)) > 1)
        return int(self._state.peer_allowed(source, target))

    @answers_value
    def cuDevicePrimaryCtxRetain(self, dev: Any) -> CUcontext:
        """The GPU's context, made with the first call."""
        state, gpu = self._state, self._state.gpu(dev)
        state.healthy(gpu)
        with state.mutex:
            context = state.contexts.get(gpu)
            if context is None:
                context = state.contexts[gpu] = Context(gpu, state.new_handle())
            context.retained += 1
            return CUcontext(context.handle)

    @answers_nothing
    def cuDevicePrimaryCtxRelease(self, dev: Any) -> None:
        """Undo a retain; the last one ends the context with its streams, events and plain allocations."""
        state, gpu = self._state, self._state.gpu(dev)
        with state.mutex:
            context = state.contexts.get(gpu)
            if context is None or not context.retained:
                raise Refused(CUresult.CUDA_ERROR_INVALID_CONTEXT)
            context.retained -= 1
            if context.retained:
                return
            del state.contexts[gpu]
            for stream in context.streams.values():
                state.dismiss(stream)
            plain = [region for region in state.regions if region.allocation is None and region.place == gpu]
            for region in plain:
                if region.gone:  # another thread is freeing it
                    continue
                with state.retiring(region):
                    state.memory.unmap(region.address, region.nbytes)
                state.accounts.refund(gpu, charged_bytes(region.nbytes))

    @answers_nothing
    def cuCtxSetCurrent(self, ctx: Any) -> None:
        """Bind a context to the calling thread, or none."""
        state, handle = self._state, number(ctx)
        require(state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        if not handle:
            state.set_current(None)
            return
        for context in list(state.contexts.values()):
            if context.handle == handle:
                state.set_current(context)
                return
        raise Refused(CUresult.CUDA_ERROR_INVALID_CONTEXT)

    @answers_value
    def cuCtxGetCurrent(self) -> CUcontext:
        """The calling thread's context; 0 if it has none."""
        require(self._state.initialised, CUresult.CUDA_ERROR_NOT_INITIALIZED)
        context = self._state.bound_context()
        return CUcontext(context.handle if context else 0)

    @answers_pair
    def cuMemGetInfo(self) -> tuple[int, int]:
        """(free, total) bytes of the current context's GPU, all processes counted."""
        context = self._state.context()
        total = self._state.node.gpu_bytes
        return max(0, total - self._state.accounts.used_bytes()[context.gpu]), total


def _code(error: int) -> CUresult:
    try:
        return CUresult(error)
    except ValueError:
        raise Refused(CUresult.CUDA_ERROR_INVALID_VALUE) from None


def charged_bytes(nbytes: int) -> int:
    """What a plain allocation takes from its GPU: whole pages."""
    return -(-nbytes // GRANULARITY_BYTES) * GRANULARITY_BYTES
