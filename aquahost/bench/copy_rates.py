"""How fast a GPU copies: by size and by place, both ways at once, and in batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from aquahost.bench.figures import Figure
from aquahost.units import KIB, format_bytes

if TYPE_CHECKING:
    from aquahost_cuda.copies import Copy, CopyEngine
    from aquahost_cuda.driver import Driver
    from aquahost_cuda.vmm import Location

_ROUNDS = 5
_MOST_AT_ONCE = 32
_PIECE_BYTES = 256 * KIB
_PIECES = 128


def measure_copy_rates(driver: Driver, places: dict[str, Location], sizes_bytes: Sequence[int]) -> list[Figure]:
    """Medians of bytes per second, GPU 0 to itself and to and from each place. Raises DriverError."""
    from aquahost_cuda.copies import CopyEngine
    from aquahost_cuda.device import Device
    from aquahost_cuda.vmm import Location

    figures = []
    largest = max(sizes_bytes)
    with Device.open(driver, 0) as device, CopyEngine(driver, device) as engine:
        for name, place in {"this GPU": Location.device(0), **places}.items():
            with _Memory(driver, engine, place, max(largest, 2 * _PIECES * _PIECE_BYTES)) as memory:
                for nbytes in sizes_bytes:
                    size = format_bytes(nbytes)
                    figures.append(_figure(f"{size} to {name}", memory.one_way(nbytes, out=True)))
                    if name != "this GPU":
                        figures.append(_figure(f"{size} from {name}", memory.one_way(nbytes, out=False)))
                if name != "this GPU":
                    both = memory.both_ways(largest // 2)
                    figures.append(_figure(f"{format_bytes(largest // 2)} to and from {name} at once", both))
                pieces = f"{_PIECES} pieces of {format_bytes(_PIECE_BYTES)} to {name}"
                figures.append(_figure(f"{pieces}, one batch", memory.pieces(batch=True)))
                figures.append(_figure(f"{pieces}, one by one", memory.pieces(batch=False)))
    return figures


class _Memory:
    """Memory of GPU 0 and as much elsewhere, touched, with copies between them."""

    def __init__(self, driver: Driver, engine: CopyEngine, place: Location, nbytes: int) -> None:
        from aquahost_cuda.arena import Arena

        self._driver, self._engine = driver, engine
        with ExitStack() as undo:
            self._near = undo.enter_context(Arena(driver, 0, nbytes, nbytes))
            self._far = undo.enter_context(Arena(driver, 0, nbytes, nbytes))
            self._stack = undo.pop_all()
        self._place = place

    def __enter__(self) -> _Memory:
        from aquahost_cuda.check import call
        from aquahost_cuda.vmm import Location

        try:
            for arena, place in ((self._near, Location.device(0)), (self._far, self._place)):
                arena.grow(1, place)
                call(self._driver.cuMemsetD8Async, arena.address, 1, arena.chunk_bytes, 0)
            call(self._driver.cuStreamSynchronize, 0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def one_way(self, nbytes: int, *, out: bool) -> float:
        """Bytes per second of plain copies of one size, several under way at once if they are small."""
        times = max(1, min(_MOST_AT_ONCE, self._near.chunk_bytes // nbytes))
        return _median(times * nbytes, lambda: self._copy_one_by_one([self._copy(0, nbytes, out=out)] * times, out=out))

    def both_ways(self, nbytes: int) -> float:
        """Bytes per second of a copy out and one in, at the same time on two streams."""
        from aquahost_cuda.copies import Direction

        out = self._copy(0, nbytes, out=True)
        back = self._copy(self._near.chunk_bytes - nbytes, nbytes, out=False)

        def work() -> None:
            transfers = [self._engine.copy(Direction.OUT, [out]), self._engine.copy(Direction.IN, [back])]
            for transfer in transfers:
                transfer.wait()

        return _median(2 * nbytes, work)

    def pieces(self, *, batch: bool) -> float:
        """Bytes per second of many small copies that are not neighbours."""
        from aquahost_cuda.copies import Direction

        copies = [self._copy(2 * number * _PIECE_BYTES, _PIECE_BYTES, out=True) for number in range(_PIECES)]
        if not batch:
            return _median(_PIECES * _PIECE_BYTES, lambda: self._copy_one_by_one(copies, out=True))
        return _median(_PIECES * _PIECE_BYTES, lambda: self._engine.copy(Direction.OUT, copies).wait())

    def _copy(self, at: int, nbytes: int, *, out: bool) -> Copy:
        from aquahost_cuda.copies import Copy

        near, far = self._near.address + at, self._far.address + at
        return Copy(far, near, nbytes) if out else Copy(near, far, nbytes)

    def _copy_one_by_one(self, copies: Sequence[Copy], *, out: bool) -> None:
        from aquahost_cuda.check import call
        from aquahost_cuda.copies import Direction

        stream = self._engine.stream(Direction.OUT if out else Direction.IN)
        for copy in copies:
            call(self._driver.cuMemcpyAsync, copy.dst, copy.src, copy.nbytes, stream)
        call(self._driver.cuStreamSynchronize, stream)


def _median(nbytes: int, work: Callable[[], None]) -> float:
    work()
    rates = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        work()
        rates.append(nbytes / (time.perf_counter() - began_s))
    return statistics.median(rates)


def _figure(name: str, bytes_per_s: float) -> Figure:
    return Figure(name=name, value=bytes_per_s / 1e9, unit="GB/s")
