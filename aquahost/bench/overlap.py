"""What paging beside the steps costs the prompts that run."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.lent_engine import LentEngine, lent_engine
from aquahost.bench.tiny_llama import VOCABULARY
from aquahost.config.settings import Kind, ModelSettings
from aquahost.units import MIB

_RUNNING = 32
_INPUT_TOKENS = 64
_STEPS = 40
_ROUNDS = 7
_GPU_BYTES = 512 * MIB
_PAWN_BYTES = 96 * MIB
_BLOCK_TOKENS = 64
"""Blocks of 256 KiB, an eighth of an 8B model's: the pager's own work is by the block, about 2 us, not by the byte."""
_HOST_BYTES_PER_S = 0.9e9
_PEER_BYTES_PER_S = (2e9, 9e9)
_SHARE = 0.5
"""Of a step's time that the copies of one step take on their link."""


def measure_overlap() -> list[Figure]:
    """Decode steps of running prompts while another prompt's blocks go out and come back all the time.

    The other prompt has KV memory of its own on the same GPU, and so the same links. Steps with paging and without take
    turns; a batch's copies take half a step on their link. Medians of rounds.

    An emulated copy goes through this machine's memory and its cores. What that alone costs is measured last: the same
    steps beside as many bytes as fit the fastest link, moved by nothing but a thread's plain copy.
    """
    figures = []
    for tier, bytes_per_s in (("host", _HOST_BYTES_PER_S), *(("peer", rate) for rate in _PEER_BYTES_PER_S)):
        slower, note = _measure(tier, bytes_per_s, functools.partial(_Pawn, tier))
        name = f"decode steps slower with paging to {tier} memory at {bytes_per_s / 1e9:g} GB/s"
        figures.append(at_most(name, slower, "%", 10.0, note=note))
    slower, note = _measure("peer", _PEER_BYTES_PER_S[-1], _PlainCopy)
    name = "decode steps slower with a thread's plain copies instead"
    return [*figures, Figure(name=name, value=slower, unit="%", note=note)]


def _measure(
    tier: str, bytes_per_s: float, begin: Callable[[LentEngine, int], _Pawn | _PlainCopy]
) -> tuple[float, str]:
    """Per cent by which steps are slower beside what `begin` makes of the bytes to move in half a step."""
    model = {"kv_bytes": 128 * MIB, "borrow_bytes": 0, "host_kv_bytes": 0, "block_tokens": _BLOCK_TOKENS}
    links = {"peer_bytes_per_s": bytes_per_s if tier == "peer" else 9e9, "host_bytes_per_s": _HOST_BYTES_PER_S}
    with lent_engine(gpus=2, gpu_bytes=_GPU_BYTES, model=model, links=links) as lent:
        for i in range(_RUNNING):
            ids = [(i * 31 + j * 7) % (VOCABULARY - 2) + 2 for j in range(_INPUT_TOKENS)]
            lent.submit(f"p{i}", ids, 10_000)
        _steps(lent, lambda: None)
        first_s = _steps(lent, lambda: None)
        with contextlib.closing(begin(lent, int(first_s * _SHARE * bytes_per_s))) as beside:
            return _in_turns(lent, beside, first_s)


def _in_turns(lent: LentEngine, beside: _Pawn | _PlainCopy, first_s: float) -> tuple[float, str]:
    ratios = []
    alone_s = first_s
    for _ in range(_ROUNDS):
        before = beside.moved_bytes
        with_copies_s = _steps(lent, beside.tend)
        beside.settle()
        moved_bytes = beside.moved_bytes - before
        # Steps grow with the prompts: what lies before and after is compared with what lies between.
        earlier_s, alone_s = alone_s, _steps(lent, lambda: None)
        ratios.append(with_copies_s / ((earlier_s + alone_s) / 2))
    step = f"{first_s * 1e3:.1f} to {alone_s * 1e3:.1f} ms"
    note = f"{moved_bytes / _STEPS / MIB:.2f} MiB moved beside a step of {step}, batch {_RUNNING}"
    return (statistics.median(ratios) - 1) * 100, note


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
    """A prompt's blocks that do nothing but go out and come back, in KV memory of their own."""

    def __init__(self, tier: str, lent: LentEngine, nbytes: int) -> None:
        """Hold blocks of so many bytes."""
        from aquahost.engines.device import EngineDevice
        from aquahost.engines.llm.kv_memory import KvMemory
        from aquahost.engines.llm.pager import Pager
        from aquahost.engines.llm.residence import Residence
        from aquahost.engines.llm.tiers import Tier

        layout = lent.engine.sequences.tiers.memory.layout
        entry = ModelSettings(kind=Kind.LLM, source="-", kv_bytes=_PAWN_BYTES, host_kv_bytes=_PAWN_BYTES)
        self._device = EngineDevice(lent.driver, 0)
        self._memory = KvMemory(self._device, layout, entry)
        if tier == "peer":
            self._memory.map_lease(1, 1, self._memory.host_chunks * self._memory.chunk_bytes, 0.0)
        self._ways = {(Tier.LOCAL, Tier(tier)), (Tier(tier), Tier.LOCAL)}
        self._residence = Residence()
        self._pager = Pager(self._memory, self._device, list)
        self._inward = False
        self._residence.append(self._memory.pool.allocate(max(1, nbytes // layout.block_bytes), Tier.LOCAL))

    @property
    def moved_bytes(self) -> int:
        """Bytes paged so far. Raises RuntimeError if any went another way than to the tier and back."""
        if set(self._memory.traffic.paged) - self._ways:
            raise RuntimeError(f"blocks went {set(self._memory.traffic.paged)}, not {self._ways}")
        return sum(self._memory.traffic.paged.values())

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

    def close(self) -> None:
        """Give all back."""
        self.settle()
        self._memory.close()
        self._device.close()


class _PlainCopy:
    """What the memory of this machine alone makes of it: one copy a step by a thread, with no driver and no pager."""

    def __init__(self, lent: LentEngine, nbytes: int) -> None:
        """Own two buffers of so many bytes."""
        self.moved_bytes = 0
        self._source = ctypes.create_string_buffer(nbytes)
        self._target = ctypes.create_string_buffer(nbytes)
        self._thread = ThreadPoolExecutor(1)
        self._copy: Future[int] | None = None

    def tend(self) -> None:
        """Copy once more if the last copy is over."""
        if self._copy is None or self._copy.done():
            nbytes = len(self._source)
            self._copy = self._thread.submit(ctypes.memmove, self._target, self._source, nbytes)  # without the GIL
            self.moved_bytes += nbytes

    def settle(self) -> None:
        """Wait for the last copy."""
        if self._copy:
            self._copy.result()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()
