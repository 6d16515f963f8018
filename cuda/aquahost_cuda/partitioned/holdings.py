"""What one process holds of GPUs whose memory this package counts itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aquahost_cuda.accounting import Accounts

_Call = Callable[[], tuple[Any]]
"""A call of the driver."""


@dataclass(slots=True, eq=False)
class _Memory:
    """Charged memory that counts while it has a handle or a mapping, which is when CUDA frees it (cuMemRelease)."""

    gpu: int
    nbytes: int
    uses: int = 1


class Holdings:
    """This process's charged memory by handle and by address, refunded when CUDA frees it. Safe for threads.

    Handles and addresses that it was not told of (imported, or host memory) are ignored. What gives one back is called
    here: it is forgotten before, since the driver may hand the same number out again at once, and known again if the
    call fails.
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

    def release(self, handle: int, give_up: _Call) -> tuple[Any]:
        """Give a handle up; returns what the call answers."""
        return self._end(self._by_handle, [handle], give_up)

    def mapped(self, address: int, handle: int) -> None:
        """A handle's memory is mapped at an address."""
        with self._mutex:
            memory = self._by_handle.get(handle)
            if memory is not None:
                memory.uses += 1
                self._by_address[address] = memory

    def unmap(self, address: int, undo: _Call) -> tuple[Any]:
        """Undo what is mapped at an address; returns what the call answers."""
        return self._end(self._by_address, [address], undo)

    def allocated(self, address: int, gpu: int, nbytes: int) -> None:
        """Charged memory has this address and no handle: it counts until it is freed, or its context ends."""
        with self._mutex:
            self._plain[address] = _Memory(gpu, nbytes)

    def free(self, address: int, give_back: _Call) -> tuple[Any]:
        """Free memory without a handle; returns what the call answers."""
        return self._end(self._plain, [address], give_back)

    def end_context(self, gpus: range, end: _Call) -> tuple[Any]:
        """End the context of these GPUs, and its memory without handles with it; returns what the call answers."""
        with self._mutex:
            addresses = [address for address, memory in self._plain.items() if memory.gpu in gpus]
        return self._end(self._plain, addresses, end)

    def _end(self, known: dict[int, _Memory], numbers: list[int], end: _Call) -> tuple[Any]:
        with self._mutex:
            forgotten = {number: known.pop(number) for number in numbers if number in known}
        done = False
        try:
            answer = end()
            done = answer[0] == 0
        finally:
            with self._mutex:
                if done:
                    for memory in forgotten.values():
                        self._drop(memory)
                else:
                    known.update(forgotten)
        return answer

    def _drop(self, memory: _Memory) -> None:
        memory.uses -= 1
        if not memory.uses:
            self._accounts.refund(memory.gpu, memory.nbytes)
