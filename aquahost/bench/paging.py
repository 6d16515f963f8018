"""How fast a prompt's KV state is paged out and in, against what the link carries."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from typing import TYPE_CHECKING

from aquahost.bench.figures import Figure, at_least
from aquahost.units import MIB

if TYPE_CHECKING:
    from aquahost_cuda.copies import Copy, CopyEngine, Direction
    from aquahost_cuda.driver import Driver
    from aquahost_cuda.vmm import Location

BLOCK_BYTES = 2 * MIB
"""16 tokens of a model shaped as Llama-3.1-8B: 32 layers, K and V, 8 heads of 128 values of 2 bytes."""
PROMPT_BLOCKS = 256
"""A prompt of 4,096 tokens."""
_SHARE = 0.9
_ROUNDS = 5
# What this machine's memory does is several times as much, so that a copy takes as long as its modelled link says.
_PEER_BYTES_PER_S = 1.0e9
_HOST_BYTES_PER_S = 0.5e9


def measure_paging() -> list[Figure]:
    """The paging rate of a 4,096-token prompt as a share of the emulated link's rate, for a neighbour and the host."""
    from aquahost_cuda.copies import Direction
    from aquahost_cuda.driver import EmulatedNode, load
    from aquahost_cuda.vmm import Location

    with tempfile.TemporaryDirectory(prefix="aquahost-bench.") as folder:
        node = EmulatedNode(path=folder, gpus=2, peer_bytes_per_s=_PEER_BYTES_PER_S, host_bytes_per_s=_HOST_BYTES_PER_S)
        driver = load("emulated", node)
        note = "of an emulated link set far below this machine's memory, which was touched before"
        figures = []
        for name, far, rate in (
            ("a neighbour", Location.device(1), _PEER_BYTES_PER_S),
            ("the host", Location.host(), _HOST_BYTES_PER_S),
        ):
            with _scattered(driver, far, PROMPT_BLOCKS, BLOCK_BYTES) as blocks:
                figures += [_figure(name, blocks, direction, repeat(rate), note) for direction in Direction]
    return figures


def measure_paging_on(driver: Driver, places: dict[str, Location], blocks: int, chunk_bytes: int) -> list[Figure]:
    """The same on any driver, of a prompt of so many blocks, as a share of one plain copy of as many bytes to the same
    place, in the same run. Raises DriverError.
    """
    from aquahost_cuda.copies import Direction

    figures = []
    for name, far in places.items():
        with _scattered(driver, far, blocks, chunk_bytes) as paged, _in_one_piece(driver, paged, far) as plain:
            for direction in Direction:
                raw = (plain.rate(direction) for _ in count())
                figures.append(_figure(name, paged, direction, raw, "of one plain cuMemcpyAsync in the same run"))
    return figures


@dataclass(frozen=True, slots=True)
class _Movable:
    """Bytes of GPU 0 that have a place elsewhere."""

    engine: CopyEngine
    out: list[Copy]
    """How they get there."""

    def rate(self, direction: Direction) -> float:
        """Bytes per second from the call until the last byte has arrived."""
        from aquahost_cuda.copies import Copy, Direction

        back = direction is Direction.IN
        copies = [Copy(one.src, one.dst, one.nbytes) for one in self.out] if back else self.out
        began = time.perf_counter()
        transfer = self.engine.copy(direction, copies)
        transfer.wait()
        return transfer.nbytes / (time.perf_counter() - began)


@contextmanager
def _scattered(driver: Driver, far: Location, blocks: int, chunk_bytes: int) -> Iterator[_Movable]:
    """Blocks of GPU 0, and places for them at `far` in the same arena, as a pool with some room hands them out."""
    from aquahost_cuda.arena import Arena
    from aquahost_cuda.copies import Copy, CopyEngine
    from aquahost_cuda.device import Device

    chunks = -(-blocks * BLOCK_BYTES * 5 // 4 // chunk_bytes)
    with (
        Device.open(driver, 0) as device,
        CopyEngine(driver, device) as engine,
        Arena(driver, 0, 2 * chunks * chunk_bytes, chunk_bytes) as arena,
    ):
        arena.grow(chunks)
        arena.grow(chunks, far)
        half = chunks * arena.chunk_bytes
        pool, spots = random.Random(0), range(half // BLOCK_BYTES)
        pairs = zip(pool.sample(spots, blocks), pool.sample(spots, blocks), strict=True)
        out = [
            Copy(arena.address + half + there * BLOCK_BYTES, arena.address + here * BLOCK_BYTES, BLOCK_BYTES)
            for here, there in pairs
        ]
        _touch(driver, out)
        yield _Movable(engine, out)


@contextmanager
def _in_one_piece(driver: Driver, like: _Movable, far: Location) -> Iterator[_Movable]:
    """As many bytes, in one mapping on either side."""
    from aquahost_cuda.arena import Arena
    from aquahost_cuda.copies import Copy

    nbytes = sum(copy.nbytes for copy in like.out)
    with Arena(driver, 0, 2 * nbytes, nbytes) as arena:
        arena.grow(1)
        arena.grow(1, far)
        out = [Copy(arena.address + arena.chunk_bytes, arena.address, nbytes)]
        _touch(driver, out)
        yield _Movable(like.engine, out)


def _touch(driver: Driver, copies: list[Copy]) -> None:
    """Write to both sides, so that no page is made while the clock runs."""
    from aquahost_cuda.check import call

    for copy in copies:
        for address in (copy.src, copy.dst):
            call(driver.cuMemsetD8Async, address, 1, copy.nbytes, 0)
    call(driver.cuStreamSynchronize, 0)


def _figure(name: str, paged: _Movable, direction: Direction, raw: Iterator[float], note: str) -> Figure:
    """The share in one direction; `raw` gives the rate to compare with. Each round gives one ratio of its own."""
    paged.rate(direction), next(raw)
    rounds = [(paged.rate(direction), next(raw)) for _ in range(_ROUNDS)]
    rate, whole = (statistics.median(side) for side in zip(*rounds, strict=True))
    way = {"out": "out to", "in": "in from"}[direction.value]
    return at_least(
        f"paging {len(paged.out)} blocks of 2 MiB {way} {name} ÷ raw rate",
        statistics.median(a / b for a, b in rounds),
        "x",
        _SHARE,
        note=f"{rate / 1e9:.2f} of {whole / 1e9:.2f} GB/s, {note}",
    )
