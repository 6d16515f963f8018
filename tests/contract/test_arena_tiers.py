"""Chunks on this GPU, on another and on the host in one arena, and chunks that move between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import OutOfMemoryError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.device import Device, read_gpus
from aquahost_cuda.driver import Driver
from aquahost_cuda.vmm import Location, granularity
from driver_fixtures import DRIVERS, about, any_driver, opened, read, write

PLACES = {"local": Location.device(0), "peer": Location.device(1), "host": Location.host()}


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    with any_driver(request.param, tmp_path) as driver:
        yield driver


@pytest.fixture
def device(driver: Driver) -> Iterator[Device]:
    with opened(driver) as device:
        yield device


@pytest.fixture
def engine(driver: Driver, device: Device) -> Iterator[CopyEngine]:
    with CopyEngine(driver, device) as engine:
        yield engine


@pytest.fixture
def arena(driver: Driver, device: Device) -> Iterator[Arena]:
    page = granularity(driver, Location.device(0), Location.host())
    with Arena(driver, 0, 6 * page, page) as arena:
        yield arena


def place(driver: Driver, name: str) -> Location:
    """A place by name; the test is skipped where the machine has no such GPU."""
    alone = call(driver.cuDeviceGetCount) < 2 or not call(driver.cuDeviceCanAccessPeer, 0, 1)
    if name == "peer" and alone:
        pytest.skip("needs two GPUs that reach each other")
    return PLACES[name]


def free_bytes(driver: Driver) -> list[int]:
    return [reading.free_bytes for reading in read_gpus(driver)]


def address_of(arena: Arena, chunk: int) -> int:
    return arena.address + chunk * arena.chunk_bytes


def content(arena: Arena, chunk: int) -> bytes:
    """Bytes that differ from chunk to chunk and within one."""
    return bytes((position * 7 + chunk) % 251 for position in range(4096)) * (arena.chunk_bytes // 4096)


def test_one_range_has_memory_of_all_kinds(driver: Driver, arena: Arena, engine: CopyEngine) -> None:
    before = free_bytes(driver)
    local, peer, host = (place(driver, name) for name in PLACES)
    stream = engine.stream(Direction.OUT)
    assert arena.grow(1) == [0]
    assert arena.grow(2, peer) == [1, 2]
    assert arena.grow(1, host) == [3]
    arena.map([5], peer)
    assert arena.locations() == (local, peer, peer, host, None, peer)
    assert [arena.bytes_at(at) // arena.chunk_bytes for at in (local, peer, host)] == [1, 3, 1]
    after = free_bytes(driver)
    assert before[0] - after[0] == about(driver, arena.chunk_bytes)
    assert before[1] - after[1] == about(driver, 3 * arena.chunk_bytes)
    for chunk in (0, 1, 2, 3, 5):
        write(driver, address_of(arena, chunk), content(arena, chunk), stream)
    for chunk in (0, 1, 2, 3, 5):
        assert read(driver, address_of(arena, chunk), arena.chunk_bytes, stream) == content(arena, chunk)


@pytest.mark.parametrize("target", PLACES)
@pytest.mark.parametrize("source", PLACES)
def test_a_chunk_moves_and_keeps_bytes_and_address(
    driver: Driver, arena: Arena, engine: CopyEngine, source: str, target: str
) -> None:
    old, new = place(driver, source), place(driver, target)
    stream = engine.stream(Direction.OUT)
    arena.map([0, 1, 2], old)
    for chunk in range(3):
        write(driver, address_of(arena, chunk), content(arena, chunk), stream)
    before = free_bytes(driver)
    move = arena.begin_move(1, new)
    assert (move.chunk, arena.location(1)) == (1, old)
    assert not arena.address <= move.address < arena.address + arena.capacity_bytes
    engine.copy(Direction.OUT, [Copy(move.address, address_of(arena, 1), arena.chunk_bytes)]).wait()
    move.finish()
    assert arena.locations()[:3] == (old, new, old)
    for chunk in range(3):
        assert read(driver, address_of(arena, chunk), arena.chunk_bytes, stream) == content(arena, chunk)
    write(driver, address_of(arena, 1) + 5, b"writable", stream)
    assert read(driver, address_of(arena, 1) + 5, 8, stream) == b"writable"
    after = free_bytes(driver)
    for gpu, (was, left) in enumerate(zip(before, after, strict=True)):
        at = Location.device(gpu)
        assert was - left == about(driver, ((at == new) - (at == old)) * arena.chunk_bytes)


def test_an_abandoned_move_leaves_the_chunk_as_it_was(driver: Driver, arena: Arena, engine: CopyEngine) -> None:
    arena.grow(2)
    stream = engine.stream(Direction.OUT)
    write(driver, address_of(arena, 1), b"stays", stream)
    before = free_bytes(driver)
    move = arena.begin_move(1, place(driver, "host"))
    write(driver, move.address, b"not it", stream)
    with pytest.raises(ValueError, match="it is being moved"):
        arena.unmap([1])
    with pytest.raises(ValueError, match="it is being moved already"):
        arena.begin_move(1, PLACES["host"])
    move.abandon()
    assert read(driver, address_of(arena, 1), 5, stream) == b"stays"
    assert arena.location(1) == PLACES["local"]
    assert before[0] - free_bytes(driver)[0] == about(driver, 0)
    for end in (move.finish, move.abandon):
        with pytest.raises(ValueError, match="the move of chunk 1 is over already"):
            end()
    arena.unmap([1])


def test_several_moves_at_once_have_addresses_of_their_own(driver: Driver, arena: Arena, engine: CopyEngine) -> None:
    arena.grow(3)
    stream = engine.stream(Direction.OUT)
    for chunk in range(3):
        write(driver, address_of(arena, chunk), content(arena, chunk), stream)
    moves = [arena.begin_move(chunk, PLACES["host"]) for chunk in range(3)]
    copies = [Copy(move.address, address_of(arena, move.chunk), arena.chunk_bytes) for move in moves]
    engine.copy(Direction.OUT, copies).wait()
    for move in reversed(moves):
        move.finish()
    for chunk in range(3):
        assert read(driver, address_of(arena, chunk), arena.chunk_bytes, stream) == content(arena, chunk)


def test_closing_abandons_moves(driver: Driver, arena: Arena) -> None:
    arena.grow(2)
    moves = [arena.begin_move(chunk, PLACES["host"]) for chunk in range(2)]
    arena.close()  # the fixtures of the emulated driver check that nothing is left
    for move in moves:
        with pytest.raises(ValueError, match="over already"):
            move.finish()


def test_a_move_without_room_leaves_nothing_behind(driver: Driver, device: Device) -> None:
    page = granularity(driver, Location.device(0), Location.host())
    before, _ = device.memory_info()
    most = before * 2 // 3 // page * page
    with Arena(driver, 0, most, most) as arena:
        arena.grow(1)
        held = free_bytes(driver)
        with pytest.raises(OutOfMemoryError):
            arena.begin_move(0, Location.device(0))
        assert held[0] - free_bytes(driver)[0] == about(driver, 0)
        assert arena.location(0) == Location.device(0)
        arena.unmap([0])
