"""Calls about GPUs and contexts."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

from aquahost_cuda.partitioned.parts import Parts

_CONTEXTS_FROM = 1 << 60  # no address, so no handle of a real context
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class LogicalUuid:
    """What of a CUuuid is read; NVIDIA's own can't be written."""

    bytes: bytes


class GpuCalls:
    """Part of the partitioned driver.

    Parts of one GPU share its primary context, but each has a handle of its own for it: the one that a thread has made
    current tells whose budget cuMemGetInfo and cuMemAlloc are about.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._contexts: dict[int, tuple[Any, int]] = {}
        """By logical GPU: the physical GPU's context, and how often it is retained."""
        self._mutex = threading.Lock()

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, Any]:
        """A logical GPU by number."""
        status, _ = self._parts.underlying.cuDeviceGet(self._parts.physical_index(ordinal))
        return status, self._parts.underlying.CUdevice(ordinal) if status == 0 else None

    def cuDeviceGetCount(self) -> tuple[Any, Any]:
        """The number of logical GPUs."""
        return self._parts.code("CUDA_SUCCESS"), len(self._parts.budgets_bytes)

    def cuDeviceGetName(self, length: int, dev: Any) -> tuple[Any, Any]:
        """The physical GPU's name, and which part of it this is."""
        status, name = self._parts.underlying.cuDeviceGetName(_NAME_BYTES, self._parts.device(dev))
        if status != 0:
            return status, None
        part = f" (part {int(dev) % self._parts.count + 1} of {self._parts.count})"
        return status, (name.split(b"\0", 1)[0].strip() + part.encode())[: length - 1] + b"\0"

    def cuDeviceGetUuid(self, dev: Any) -> tuple[Any, Any]:
        """Derived from the physical GPU's; the same in all processes, another for another number of parts."""
        status, uuid = self._parts.underlying.cuDeviceGetUuid(self._parts.device(dev))
        if status != 0:
            return status, None
        part = f"/{int(dev) % self._parts.count}/{self._parts.count}"
        return status, LogicalUuid(hashlib.sha256(bytes(uuid.bytes) + part.encode()).digest()[:16])

    def cuDeviceTotalMem(self, dev: Any) -> tuple[Any, Any]:
        """The budget."""
        status, _ = self._parts.underlying.cuDeviceTotalMem(self._parts.device(dev))
        return status, self._parts.budgets_bytes[int(dev)] if status == 0 else None

    def cuDeviceGetAttribute(self, attrib: Any, dev: Any) -> tuple[Any, Any]:
        """One of the physical GPU's figures."""
        return self._parts.underlying.cuDeviceGetAttribute(attrib, self._parts.device(dev))

    def cuDeviceCanAccessPeer(self, dev: Any, peerDev: Any) -> tuple[Any, Any]:
        """1 for two parts of one GPU, else as the physical GPUs are."""
        if self._are_siblings(dev, peerDev):
            return self._parts.code("CUDA_SUCCESS"), 1
        return self._parts.underlying.cuDeviceCanAccessPeer(self._parts.device(dev), self._parts.device(peerDev))

    def cuDeviceGetP2PAttribute(self, attrib: Any, srcDevice: Any, dstDevice: Any) -> tuple[Any, Any]:
        """Of two parts of one GPU everything is supported, with the best rank; else as the physical GPUs are."""
        underlying = self._parts.underlying
        if self._are_siblings(srcDevice, dstDevice):
            rank = underlying.CUdevice_P2PAttribute.CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK
            return self._parts.code("CUDA_SUCCESS"), int(attrib != rank)
        return underlying.cuDeviceGetP2PAttribute(attrib, self._parts.device(srcDevice), self._parts.device(dstDevice))

    def cuDevicePrimaryCtxRetain(self, dev: Any) -> tuple[Any, Any]:
        """The physical GPU's context, under the logical GPU's handle."""
        status, context = self._parts.underlying.cuDevicePrimaryCtxRetain(self._parts.device(dev))
        if status != 0:
            return status, None
        with self._mutex:
            _, retained = self._contexts.get(int(dev), (None, 0))
            self._contexts[int(dev)] = (context, retained + 1)
        return status, self._parts.underlying.CUcontext(_CONTEXTS_FROM + int(dev))

    def cuDevicePrimaryCtxRelease(self, dev: Any) -> tuple[Any]:
        """Undo a retain; the last one among a physical GPU's parts ends its context, and its plain memory with it."""
        parts, gpu = self._parts, int(dev)
        with self._mutex:
            if gpu not in self._contexts:
                return (parts.code("CUDA_ERROR_INVALID_CONTEXT"),)
            context, retained = self._contexts[gpu]
            siblings = parts.siblings(gpu)
            is_last = retained == 1 and not any(other in self._contexts for other in siblings if other != gpu)

            def release() -> tuple[Any]:
                return parts.underlying.cuDevicePrimaryCtxRelease(parts.device(gpu))

            answer = parts.holdings.end_context(siblings, release) if is_last else release()
            if answer[0] == 0:
                del self._contexts[gpu]
                if retained > 1:
                    self._contexts[gpu] = (context, retained - 1)
        return answer

    def cuCtxSetCurrent(self, ctx: Any) -> tuple[Any]:
        """Bind a logical GPU's context to the calling thread, or none."""
        gpu = int(ctx) - _CONTEXTS_FROM
        known = self._contexts.get(gpu)
        # A handle of a context that is gone goes on as it is: no driver knows such a one.
        answer: tuple[Any] = self._parts.underlying.cuCtxSetCurrent(ctx if known is None else known[0])
        if answer[0] == 0:
            self._parts.current_gpu = None if known is None else gpu
        return answer

    def cuCtxGetCurrent(self) -> tuple[Any, Any]:
        """The calling thread's context, under the handle that it was made current by."""
        status, context = self._parts.underlying.cuCtxGetCurrent()
        gpu = self._parts.current_gpu
        known = None if gpu is None else self._contexts.get(gpu)
        if status == 0 and gpu is not None and known is not None and int(known[0]) == int(context):
            return status, self._parts.underlying.CUcontext(_CONTEXTS_FROM + gpu)
        return status, context

    def _are_siblings(self, dev: Any, other: Any) -> bool:
        """Whether these are two parts of one GPU."""
        return int(dev) != int(other) and int(dev) >= 0 and int(other) in self._parts.siblings(int(dev))
