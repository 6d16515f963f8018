"""What paging beside the steps costs the prompts that run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.lent_engine import LentEngine, lent_engine
from aquahost.bench.tiny_llama import VOCABULARY
from aquahost.units import MIB

_RUNNING = 8
_INPUT_TOKENS = 64
_STEPS = 60
_ROUNDS = 9
_GPU_BYTES = 512 * MIB
_SHARE = 0.5
"""Of a step's time that the copies of one step take on their link."""


def measure_overlap() -> list[Figure]:
    """Decode steps of running prompts while another prompt's blocks go out and come back all the time.

    Steps with paging and without take turns; a batch's copies take half a step on their link. Medians of rounds.
    """
    figures = []
    for tier in ("host", "peer"):
        model = {
            "kv_bytes": 64 * MIB,
            "borrow_bytes": 64 * MIB if tier == "peer" else 0,
            "host_kv_bytes": 64 * MIB,
        }
        with lent_engine(gpus=2, gpu_bytes=_GPU_BYTES, model=model) as lent:
            figures.append(_measure(lent, tier))
    return figures


def _measure(lent: LentEngine, tier: str) -> Figure:
    for i in range(_RUNNING):
        ids = [(i * 31 + j * 7) % (VOCABULARY - 2) + 2 for j in range(_INPUT_TOKENS)]
        lent.submit(f"p{i}", ids, 10_000)
    pawn = _Pawn(lent, tier)
    _steps(lent, lambda: None)
    alone_s = _steps(lent, lambda: None)
    pawn.resize(alone_s * _SHARE)
    ratios = []
    moved_bytes = 0
    for _ in range(_ROUNDS):
        before = pawn.moved_bytes
        with_paging_s = _steps(lent, pawn.tend)
        moved_bytes = pawn.moved_bytes - before
        pawn.settle()
        # Steps grow with the prompts: what lies before and after is compared with what lies between.
        earlier_s, alone_s = alone_s, _steps(lent, lambda: None)
        ratios.append(with_paging_s / ((earlier_s + alone_s) / 2))
    slower = statistics.median(ratios) - 1
    note = f"{moved_bytes / _STEPS / MIB:.2f} MiB a step of {alone_s * 1e3:.1f} ms, batch {_RUNNING}"
    return at_most(f"decode steps slower with paging to {tier} memory", slower * 100, "%", 10.0, note=note)


def _steps(lent: LentEngine, beside: Callable[[], None]) -> float:
    """Median time of a step."""
    times = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        beside()
        lent.round()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class _Pawn:
    """A prompt's blocks that do nothing but go out and come back."""

    def __init__(self, lent: LentEngine, tier: str) -> None:
        from aquahost.engines.llm.pager import Pager
        from aquahost.engines.llm.residence import Residence
        from aquahost.engines.llm.tiers import Tier

        self._memory = lent.engine.sequences.tiers.memory
        self._device = lent.engine.sequences.device
        self._residence = Residence()
        self._pager = Pager(self._memory, self._device, list)
        self._local, self._remote = Tier.LOCAL, Tier(tier)
        self._inward = False
        self._bytes_per_s = 9e9 if tier == "peer" else 0.9e9
        if tier == "peer":
            self._memory.map_lease(10_000, 1, 32 * MIB)

    @property
    def moved_bytes(self) -> int:
        """Bytes paged so far."""
        return sum(self._memory.paged.values())

    def resize(self, transfer_s: float) -> None:
        """Hold as many blocks as the link carries in that time."""
        blocks = max(1, int(transfer_s * self._bytes_per_s / self._memory.layout.block_bytes))
        blocks = min(blocks, self._memory.pool.free(self._local) // 2, self._memory.pool.free(self._remote) or blocks)
        self._residence.append(self._memory.pool.allocate(blocks, self._local))

    def tend(self) -> None:
        """Turn round once it has got where it was going; nothing it has was saved before."""
        if self._pager.is_busy and not self._pager.poll():
            return
        tokens = len(self._residence.blocks) * self._memory.layout.block_tokens
        if self._inward:
            self._pager.page_in("pawn", self._residence, tokens, len(self._residence.blocks))
        else:
            self._memory.pool.release(self._residence.drop_copies())
            self._pager.page_out("pawn", self._residence, tokens)
        self._inward = not self._inward

    def settle(self) -> None:
        """Wait until it is somewhere."""
        while self._pager.is_busy:
            self._pager.poll()
            time.sleep(0.001)
