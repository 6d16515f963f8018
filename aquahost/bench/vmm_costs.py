"""What it costs to make, map, move and free a chunk of memory, by size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from aquahost.bench.figures import Figure
from aquahost.units import format_bytes

if TYPE_CHECKING:
    from aquahost_cuda.driver import Driver
    from aquahost_cuda.vmm import Location

_ROUNDS = 10
_STEPS = ("create", "map", "set access", "unmap", "release")


def measure_vmm_costs(driver: Driver, places: dict[str, Location], sizes_bytes: Sequence[int]) -> list[Figure]:
    """Medians for chunks on this GPU (0) and in each place, by size. Raises DriverError."""
    from aquahost_cuda.device import Device
    from aquahost_cuda.vmm import Location

    here = Location.device(0)
    figures = []
    with Device.open(driver, 0):
        for nbytes in sizes_bytes:
            for name, place in {"this GPU": here, **places}.items():
                rounds = [_steps_s(driver, place, here, nbytes) for _ in range(_ROUNDS)]
                for step, took_s in zip(_STEPS, zip(*rounds, strict=True), strict=True):
                    figures.append(_figure(f"{step}, {format_bytes(nbytes)} on {name}", took_s))
    for name, place in places.items():
        for nbytes in sizes_bytes:
            figures += _move_figures(driver, name, place, nbytes)
    return figures


def _steps_s(driver: Driver, place: Location, here: Location, nbytes: int) -> list[float]:
    """Seconds that each step of one chunk's life takes."""
    from aquahost_cuda.vmm import create_memory, grant, map_handle, release_memory, reserve, unmap_memory, unreserve

    took_s: list[float] = []
    handle = None

    def create() -> None:
        nonlocal handle
        handle = create_memory(driver, nbytes, place)

    def step(work: Callable[[], None]) -> None:
        took_s.append(_took_s(work))

    with ExitStack() as undo:  # last in, first out: the steps back are steps too, and are taken whatever fails
        address = reserve(driver, nbytes)
        undo.callback(unreserve, driver, address, nbytes)
        step(create)
        undo.callback(step, lambda: release_memory(driver, handle))
        step(lambda: map_handle(driver, address, nbytes, handle))
        undo.callback(step, lambda: unmap_memory(driver, address, nbytes))
        step(lambda: grant(driver, address, nbytes, [here]))
    return took_s


def _move_figures(driver: Driver, name: str, place: Location, nbytes: int) -> list[Figure]:
    """What a chunk's move to a place and back costs beside the copy."""
    from aquahost_cuda.arena import Arena
    from aquahost_cuda.copies import Copy, CopyEngine, Direction
    from aquahost_cuda.device import Device
    from aquahost_cuda.vmm import Location

    begin_s, copy_s, finish_s = [], [], []
    with (
        Device.open(driver, 0) as device,
        CopyEngine(driver, device) as engine,
        Arena(driver, 0, nbytes, nbytes) as arena,
    ):
        arena.grow(1)
        for target in [place, Location.device(0)] * (_ROUNDS // 2):
            began_s = time.perf_counter()
            move = arena.begin_move(0, target)
            begin_s.append(time.perf_counter() - began_s)
            transfer = engine.copy(Direction.OUT, [Copy(move.address, arena.address, arena.chunk_bytes)])
            copy_s.append(_took_s(transfer.wait))
            finish_s.append(_took_s(move.finish))
    what = f"{format_bytes(nbytes)} to {name} and back"
    return [
        _figure(f"move: new memory, {what}", begin_s),
        _figure(f"move: copy, {what}", copy_s),
        _figure(f"move: remap, {what}", finish_s),
    ]


def _took_s(work: Callable[[], None]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def _figure(name: str, took_s: Sequence[float]) -> Figure:
    return Figure(name=name, value=statistics.median(took_s) * 1e6, unit="µs")
