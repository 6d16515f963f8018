"""How soon a donor has its memory back from a language model under load."""

from __future__ import annotations

import random
import statistics
import time

from aquahost.bench.figures import Figure, at_most
from aquahost.bench.lent_engine import LentEngine, lent_engine
from aquahost.bench.tiny_llama import VOCABULARY
from aquahost.units import MIB

_RECALLS = 200
_INPUT_TOKENS = 1800
_OUTPUT_TOKENS = 200
_GPU_BYTES = 256 * MIB
_DONOR = 1
_ALLOWED_S = 0.05


def measure_recall() -> list[Figure]:
    """Seconds from an owner's claim until it is settled, beyond what copying to host memory takes the bytes that had to
    be moved, at that link's rate as measured here: p99 of 200 recalls.

    A prompt of 1,800 tokens decodes meanwhile, with three quarters of its KV in the recalled lease, read in place;
    there is no other donor. Engine, broker and driver are the real ones, in one process: what a message to the daemon
    and back takes (a fraction of a millisecond) is not in it.
    """
    model = {"kv_bytes": 2 * MIB, "borrow_bytes": 8 * MIB, "host_kv_bytes": 32 * MIB}
    late_s: list[float] = []
    lent_bytes = moved_bytes = 0
    with lent_engine(gpus=2, gpu_bytes=_GPU_BYTES, model=model) as lent:
        rate = _host_rate(lent)
        load = _Load(lent)
        while len(late_s) < _RECALLS:
            _fill_lease(lent, load)
            nbytes, moved, took_s = _recall(lent, load)
            lent_bytes += nbytes
            moved_bytes += moved
            late_s.append(took_s - moved / rate)
    if not moved_bytes:
        raise RuntimeError("nothing had to be moved: the leases were empty")
    late_s.sort()
    p99_s = late_s[int(0.99 * len(late_s)) - 1]
    note = (
        f"{_RECALLS} recalls of {lent_bytes / _RECALLS / MIB:.1f} MiB on average, {moved_bytes / lent_bytes:.0%} of it "
        f"in use and moved to the host at {rate / 1e9:.2f} GB/s; without the daemon's messages"
    )
    return [
        at_most("recall, p99 beyond bytes ÷ rate", p99_s * 1e3, "ms", _ALLOWED_S * 1e3, note=note),
        Figure(name="recall, median beyond bytes ÷ rate", value=statistics.median(late_s) * 1e3, unit="ms"),
    ]


class _Load:
    """One long prompt after the other."""

    def __init__(self, lent: LentEngine) -> None:
        self._lent = lent
        self._generator = random.Random(2)
        self._count = 0

    def keep_up(self) -> None:
        """Have a live prompt."""
        if not len(self._lent.engine.sequences):
            self._count += 1
            ids = [self._generator.randrange(2, VOCABULARY) for _ in range(_INPUT_TOKENS)]
            self._lent.submit(f"p{self._count}", ids, _OUTPUT_TOKENS)

    def round(self) -> None:
        """One pass of the engine."""
        self.keep_up()
        self._lent.round()


def _fill_lease(lent: LentEngine, load: _Load) -> None:
    """Go on until a whole prompt is read in, and what of it is remote lies in the lease."""
    while not (_leased_blocks(lent) and _is_decoding(lent) and not lent.engine.sequences.tiers.is_busy):
        load.round()


def _is_decoding(lent: LentEngine) -> bool:
    return any(sequence.output_tokens > 2 for sequence in lent.engine.sequences)


def _leased_blocks(lent: LentEngine) -> int:
    memory = lent.engine.sequences.tiers.memory
    if any(memory.pool.used(chunk) for chunk in memory.host_mapped_chunks()):
        return 0  # still on its way from the host
    return sum(memory.pool.used(chunk) for lease in memory.leases.values() for chunk in lease.chunks)


def _recall(lent: LentEngine, load: _Load) -> tuple[int, int, float]:
    """Claim all of the donor's memory; (bytes lent, bytes that were moved, seconds until all was back)."""
    memory = lent.engine.sequences.tiers.memory
    nbytes, before = lent.lent_bytes(_DONOR), sum(memory.traffic.paged.values())
    begun_s = lent.clock.now_s()
    lent.settled.pop(_DONOR, None)
    lent.claim(_DONOR, _GPU_BYTES)
    while _DONOR not in lent.settled:
        load.round()
    took_s = lent.settled[_DONOR] - begun_s
    moved = sum(memory.traffic.paged.values()) - before
    lent.claim(_DONOR, 0)
    return nbytes, moved, took_s


def _host_rate(lent: LentEngine) -> float:
    """Bytes a second that the link to host memory carries: the median of a few copies of a chunk."""
    from aquahost_cuda.copies import Copy, Direction

    memory, copies = lent.engine.sequences.tiers.memory, lent.engine.sequences.device.copies
    if not memory.map_host():
        raise RuntimeError("no host memory")
    (chunk,) = memory.host_mapped_chunks()
    source, target = memory.address(0), memory.address(memory.block_ids(chunk)[0])
    times = []
    for _ in range(7):
        began = time.perf_counter()
        copies.copy(Direction.OUT, [Copy(target, source, memory.chunk_bytes)]).wait()
        times.append(time.perf_counter() - began)
    return memory.chunk_bytes / statistics.median(times)
