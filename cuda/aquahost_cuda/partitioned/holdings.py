"""What one process holds of GPUs whose memory this package counts itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from aquahost_cuda.accounting import Accounts


@dataclass(slots=True, eq=False)
class _Memory:
    """Charged memory that counts while it has a handle or a mapping, which is when CUDA frees it (cuMemRelease)."""

    gpu: int
    nbytes: int
    uses: int = 1


class Holdings:
    """This process's charged memory by handle and by address, refunded when CUDA frees it. Safe for threads.

    Handles and addresses that it was not told of (imported, or host memory) are ignored.
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._mutex = threading.Lock()
        self._by_handle: dict[int, _Memory] = {}
        self._by_address: dict[int, _Memory] = {}
        self._plain: dict[int, _Memory] = {}

    def created(self, handle: int, gpu: int, nbytes: int) -> None:
        """Charged memory has this handle."""
        with self._mutex:
            self._by_handle[handle] = _Memory(gpu, nbytes)

    def released(self, handle: int) -> None:
        """A handle is given up."""
        with self._mutex:
            self._drop(self._by_handle.pop(handle, None))

    def mapped(self, address: int, handle: int) -> None:
        """A handle's memory is mapped at an address."""
        with self._mutex:
            memory = self._by_handle.get(handle)
            if memory is not None:
                memory.uses += 1
                self._by_address[address] = memory

    def unmapped(self, address: int) -> None:
        """What was mapped at an address is so no more."""
        with self._mutex:
            self._drop(self._by_address.pop(address, None))

    def allocated(self, address: int, gpu: int, nbytes: int) -> None:
        """Charged memory has this address and no handle: it counts until it is freed, or its context ends."""
        with self._mutex:
            self._plain[address] = _Memory(gpu, nbytes)

    def freed(self, address: int) -> None:
        """Memory without a handle is freed."""
        with self._mutex:
            self._drop(self._plain.pop(address, None))

    def end_context(self, gpus: range) -> None:
        """The context of these GPUs has ended, and its memory without handles with it."""
        with self._mutex:
            for address, memory in list(self._plain.items()):
                if memory.gpu in gpus:
                    self._drop(self._plain.pop(address))

    def _drop(self, memory: _Memory | None) -> None:
        if memory is None:
            return
        memory.uses -= 1
        if not memory.uses:
            self._accounts.refund(memory.gpu, memory.nbytes)
