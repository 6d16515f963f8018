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
_LIVE_PROMPTS = 24
_GPU_BYTES = 256 * MIB
_DONORS = (1, 2, 3)
_HOST_BYTES_PER_S = 0.9e9
_ALLOWED_S = 0.05


def measure_recall() -> list[Figure]:
    """Seconds from an owner's claim until it is settled, beyond what copying the bytes to host memory takes at the
    measured rate of that link: p99 of 200 recalls while prompts decode and are paged in and out."""
    model = {"kv_bytes": 4 * MIB, "borrow_bytes": 24 * MIB, "host_kv_bytes": 64 * MIB}
    late_s: list[float] = []
    recalled = 0
    generator = random.Random(1)
    with lent_engine(gpus=1 + len(_DONORS), gpu_bytes=_GPU_BYTES, model=model) as lent:
        rate = _host_rate(lent)
        load = _Load(lent)
        while len(late_s) < _RECALLS:
            load.keep_up()
            lent.round()
            donor = generator.choice(_DONORS)
            if lent.lent_bytes(donor) and generator.random() < 0.1:
                nbytes, took_s = _recall(lent, load, donor)
                recalled += nbytes
                late_s.append(took_s - nbytes / rate)
    late_s.sort()
    p99_s = late_s[int(0.99 * len(late_s)) - 1]
    note = f"{_RECALLS} recalls of {recalled / _RECALLS / MIB:.1f} MiB on average, host link {rate / 1e9:.2f} GB/s"
    return [
        at_most("recall, p99 beyond bytes ÷ rate", p99_s * 1e3, "ms", _ALLOWED_S * 1e3, note=note),
        Figure(name="recall, median beyond bytes ÷ rate", value=statistics.median(late_s) * 1e3, unit="ms"),
    ]


class _Load:
    """Keeps prompts coming, more than local memory holds."""

    def __init__(self, lent: LentEngine) -> None:
        self._lent = lent
        self._generator = random.Random(2)
        self._count = 0

    def keep_up(self) -> None:
        """Have as many live prompts as there should be."""
        while len(self._lent.engine.sequences) < _LIVE_PROMPTS:
            self._count += 1
            ids = [self._generator.randrange(2, VOCABULARY) for _ in range(self._generator.randint(32, 128))]
            self._lent.submit(f"p{self._count}", ids, self._generator.randint(128, 384))


def _recall(lent: LentEngine, load: _Load, donor: int) -> tuple[int, float]:
    """Claim all of a donor's memory; (bytes that were lent, seconds until they were back). Then free it again."""
    nbytes = lent.lent_bytes(donor)
    begun_s = lent.clock.now_s()
    lent.settled.pop(donor, None)
    lent.claim(donor, _GPU_BYTES)
    while donor not in lent.settled:
        load.keep_up()
        lent.round()
    took_s = lent.settled[donor] - begun_s
    lent.claim(donor, 0)
    return nbytes, took_s


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
