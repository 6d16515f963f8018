"""What paging a prompt out and in costs on a GPU, by where to: measured with the language engine's own pager."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aquahost.clock import SystemClock
from aquahost.config.settings import Kind, LeasingSettings, ModelSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.llm.kv_layout import KvLayout
from aquahost.engines.llm.kv_memory import KvMemory
from aquahost.engines.llm.pager import Pager
from aquahost.engines.llm.residence import Residence
from aquahost.engines.llm.tiers import Tier
from aquahost.engines.memory_desk import MemoryDesk
from aquahost.errors import LoadError
from aquahost.messages.memory import Claim, ClaimSettled, MemoryInstruction, MemoryReport
from aquahost_cuda.check import DriverError
from aquahost_cuda.driver import Driver

_ROUNDS = 7
_POLL_S = 1e-4
_LEASE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PagingCost:
    """Of one prompt, to one kind of memory and back."""

    bytes_per_s: float
    """Of its copies, from start to arrival; of the slower way."""
    work_s: float
    """The engine's own, for either way: until the copies run."""


def measure_paging(
    driver: Driver, gpu: int, donor: int | None, layout: KvLayout, *, tokens: int
) -> dict[Tier, PagingCost]:
    """For a prompt of so many tokens; without what the GPU can't do. `donor`: another GPU, None if there is none."""
    found = {}
    for tier in (Tier.PEER, Tier.HOST) if donor is not None else (Tier.HOST,):
        try:
            with _prompt(driver, gpu, donor if tier is Tier.PEER else None, layout, tokens) as prompt:
                prompt.there_and_back()  # touches all memory, and maps the host's
                rounds = [prompt.there_and_back() for _ in range(_ROUNDS)]
        except (DriverError, LoadError, ValueError):
            continue  # no access to that GPU, or no host memory in this driver
        found[tier] = PagingCost(
            bytes_per_s=prompt.nbytes / max(statistics.median(one[way] for one in rounds) for way in (0, 1)),
            work_s=statistics.median(one[2] for one in rounds),
        )
    return found


class _Prompt:
    """Blocks that do nothing but go out and come back."""

    def __init__(self, memory: KvMemory, pager: Pager, tokens: int) -> None:
        self._memory, self._pager, self._tokens = memory, pager, tokens
        self._residence = Residence()
        self._residence.append(memory.pool.allocate(memory.layout.blocks_for(tokens), Tier.LOCAL))
        self.nbytes = len(self._residence.blocks) * memory.block_bytes

    def there_and_back(self) -> tuple[float, float, float]:
        """Seconds that the copies took out and in, and the engine's own work for one of them."""
        self._memory.pool.release(self._residence.drop_copies())
        began_s = time.perf_counter()
        self._pager.page_out("prompt", self._residence, self._tokens)
        out_work_s = time.perf_counter() - began_s
        out_s = self._arrive()
        began_s = time.perf_counter()
        self._pager.page_in("prompt", self._residence, self._tokens, len(self._residence.blocks))
        in_work_s = time.perf_counter() - began_s
        return out_s, self._arrive(), (out_work_s + in_work_s) / 2

    def _arrive(self) -> float:
        while not (arrived := self._pager.poll()):
            time.sleep(_POLL_S)
        transfer = arrived[0].transfer
        assert transfer is not None
        return transfer.duration_s


@contextmanager
def _prompt(driver: Driver, gpu: int, donor: int | None, layout: KvLayout, tokens: int) -> Iterator[_Prompt]:
    """A prompt in local memory, with room for as much in leased memory of `donor`, or in the host's."""
    nbytes = layout.blocks_for(tokens) * layout.block_bytes
    settings = ModelSettings(
        kind=Kind.LLM,
        source="-",
        kv_bytes=nbytes,
        borrow_bytes=nbytes if donor is not None else 0,
        host_kv_bytes=nbytes if donor is None else 0,
    )
    device = EngineDevice(driver, gpu, MemoryDesk(LeasingSettings(), SystemClock(), exchange=_settle))
    try:
        memory = KvMemory(device, layout, settings)
        try:
            if donor is not None:
                memory.map_lease(_LEASE, donor, memory.local_bytes, 0.0)
            yield _Prompt(memory, Pager(memory, device, list), tokens)
        finally:
            device.copies.synchronize()
            memory.close()
    finally:
        device.close()


def _settle(reports: list[MemoryReport]) -> list[MemoryInstruction]:
    """A broker that grants every claim."""
    return [ClaimSettled(report.nbytes) for report in reports if isinstance(report, Claim)]
