"""How fast the copy engine moves scattered blocks, against one plain copy: needs no torch, and runs on any driver."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


def measure_block_copies(driver: Driver, places: dict[str, Location], blocks: int, chunk_bytes: int) -> list[Figure]:
    """The rate of copies of so many scattered KV blocks between GPU 0 and each place, both ways, as a share of one
    plain copy of as many bytes in the same run. Raises DriverError.
    """
    from aquahost_cuda.copies import Direction

    figures = []
    for name, far in places.items():
        with _scattered(driver, far, blocks, chunk_bytes) as scattered, _in_one_piece(driver, scattered, far) as plain:
            figures += [_figure(name, scattered, plain, direction) for direction in Direction]
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


def _figure(name: str, scattered: _Movable, plain: _Movable, direction: Direction) -> Figure:
    """The share in one direction; each round gives one ratio of its own."""
    scattered.rate(direction), plain.rate(direction)
    rounds = [(scattered.rate(direction), plain.rate(direction)) for _ in range(_ROUNDS)]
    rate, whole = (statistics.median(side) for side in zip(*rounds, strict=True))
    way = {"out": "out to", "in": "in from"}[direction.value]
    return at_least(
        f"copy engine: {len(scattered.out)} blocks of 2 MiB {way} {name} ÷ one plain copy",
        statistics.median(a / b for a, b in rounds),
        "x",
        _SHARE,
        note=f"{rate / 1e9:.2f} of {whole / 1e9:.2f} GB/s",
    )
