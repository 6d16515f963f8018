"""Links: how long copies take, and which of them wait for each other."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.copies import Copy, CopyEngine, Direction
from aquahost_cuda.driver import HOST, EmulatedDriver, EmulatedNode, Faults, SlowLink
from aquahost_cuda.emulated import mover
from aquahost_cuda.emulated.faults import FaultBoard, inject
from aquahost_cuda.emulated.links import LinkTable
from aquahost_cuda.emulated.refusal import Refused
from aquahost_cuda.vmm import Buffer, Location, grant, reserve, unreserve
from driver_fixtures import MIB, NOTHING, PAGE, emulated, mapped, name_of, new_stream, opened, read, small_node, write

RATES = {"peer_bytes_per_s": 100.0, "peer_latency_s": 1.0, "host_bytes_per_s": 10.0, "host_latency_s": 2.0}
ONE, TWO, THREE = (Location.device(gpu) for gpu in range(3))


def links(path: Path, faults: Faults | None = None) -> LinkTable:
    node: EmulatedNode = small_node(path, faults=faults or Faults(), **RATES)
    return LinkTable(node, FaultBoard(node))


def test_a_copy_takes_latency_and_bytes_over_rate(tmp_path: Path) -> None:
    table = links(tmp_path)
    assert table.occupy({(0, 1): 500}, 10.0) == 10.0 + 1.0 + 5.0
    assert table.occupy({(2, HOST): 500}, 10.0) == 10.0 + 2.0 + 50.0
    assert table.occupy({(3, 3): 500}, 10.0) == 10.0


def test_copies_share_a_directed_link(tmp_path: Path) -> None:
    table = links(tmp_path)
    assert table.occupy({(0, 1): 500}, 0.0) == 6.0
    assert table.occupy({(0, 1): 100}, 1.0) == 8.0
    assert table.occupy({(1, 0): 100}, 1.0) == 3.0
    assert table.occupy({(0, 2): 100}, 1.0) == 3.0
    assert table.occupy({(0, 1): 100}, 20.0) == 22.0


def test_links_of_one_batch_work_side_by_side(tmp_path: Path) -> None:
    table = links(tmp_path)
    assert table.occupy({(1, 0): 500, (2, 0): 900, (HOST, 0): 10}, 0.0) == 10.0


def test_a_slow_link_is_slow_one_way(tmp_path: Path) -> None:
    table = links(tmp_path, Faults(slow_links=(SlowLink(source=0, target=1, factor=4.0),)))
    assert table.transfer_s((0, 1), 100) == 1.0 + 4.0
    assert table.transfer_s((1, 0), 100) == 1.0 + 1.0


def test_openers_of_a_node_share_its_links(tmp_path: Path) -> None:
    first, second = links(tmp_path), links(tmp_path)
    other_node = links(tmp_path / "other")
    assert first.occupy({(0, HOST): 100}, 0.0) == 12.0
    assert second.occupy({(0, HOST): 100, (HOST, 0): 10}, 1.0) == 24.0
    assert first.occupy({(0, HOST): 100}, 2.0) == 36.0
    assert other_node.occupy({(0, HOST): 100}, 0.0) == 12.0
    for table in (first, second, other_node):
        table.close()


def test_times_of_an_earlier_boot_are_forgotten(tmp_path: Path) -> None:
    table = links(tmp_path)
    assert table.occupy({(0, 1): 900}, 0.0) == 10.0
    table.close()
    table = links(tmp_path)
    assert table.occupy({(0, 1): 900}, 5.0) == 20.0
    table.close()
    file = tmp_path / "links"
    file.write_bytes(bytes(16) + file.read_bytes()[16:])
    table = links(tmp_path)
    assert table.occupy({(0, 1): 900}, 0.0) == 10.0
    table.close()


def test_closed_links_refuse(tmp_path: Path) -> None:
    table = links(tmp_path)
    table.close()
    table.close()
    with pytest.raises(Refused, match="DEINITIALIZED"):
        table.occupy({(0, 1): 1}, 0.0)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path, peer_latency_s=0.02, host_latency_s=0.03) as driver:
        yield driver


def test_no_copy_is_faster_than_its_link(driver: EmulatedDriver) -> None:
    with (
        opened(driver) as device,
        CopyEngine(driver, device) as engine,
        Buffer(driver, 0, PAGE) as local,
        mapped(driver, PAGE, TWO, ONE) as peer,
        mapped(driver, PAGE, Location.host(), ONE) as host,
    ):
        durations = []
        for target in (peer, host):
            transfer = engine.copy(Direction.OUT, [Copy(target, local.address, 1000)])
            transfer.wait()
            durations.append(transfer.duration_s)
        assert durations[0] >= 0.02
        assert durations[1] >= 0.03


def test_bytes_move_when_the_link_has_carried_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever reads too early, or overwrites the source too early, gets what hardware might give him."""
    seen: list[tuple[float, bytes]] = []
    watched: list[int] = []

    def look(end_s: float) -> None:
        seen.append((end_s, ctypes.string_at(watched[0], 3)))

    monkeypatch.setattr(mover, "sleep_until", look)
    with (
        emulated(tmp_path, peer_latency_s=100.0) as driver,
        opened(driver),
        new_stream(driver) as stream,
        Buffer(driver, 0, PAGE) as local,
        mapped(driver, PAGE, TWO, ONE) as peer,
    ):
        watched.append(peer)
        ctypes.memmove(local.address, b"new", 3)
        start_s = time.monotonic()
        call(driver.cuMemcpyAsync, peer, local.address, 3, stream)
        call(driver.cuStreamSynchronize, stream)
        assert [content for _, content in seen] == [b"\0\0\0", b"new"]
        assert all(end_s > start_s + 99 for end_s, _ in seen)


def test_peers_are_reached_unless_that_is_broken(driver: EmulatedDriver) -> None:
    p2p = driver.CUdevice_P2PAttribute
    assert call(driver.cuDeviceCanAccessPeer, 0, 1) == 1
    assert call(driver.cuDeviceCanAccessPeer, 0, 0) == 0
    broken = Faults(no_peer_access=((0, 1),), slow_links=(SlowLink(source=0, target=2, factor=2.0),))
    inject(driver.node.path, broken)
    assert call(driver.cuDeviceCanAccessPeer, 0, 1) == 0
    assert call(driver.cuDeviceCanAccessPeer, 1, 0) == 1
    supported, rank = (
        p2p.CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED,
        p2p.CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK,
    )
    assert call(driver.cuDeviceGetP2PAttribute, supported, 0, 1) == 0
    assert call(driver.cuDeviceGetP2PAttribute, supported, 1, 0) == 1
    assert call(driver.cuDeviceGetP2PAttribute, rank, 0, 2) > call(driver.cuDeviceGetP2PAttribute, rank, 2, 0)
    with mapped(driver, PAGE, TWO) as address, pytest.raises(DriverError) as failure:
        grant(driver, address, PAGE, [ONE])
    assert failure.value.name == "CUDA_ERROR_INVALID_DEVICE"


def test_corrupting_peer_access_looks_well_and_loses_data(driver: EmulatedDriver) -> None:
    inject(driver.node.path, Faults(corrupt_peer_access=((0, 1),)))
    assert call(driver.cuDeviceCanAccessPeer, 0, 1) == 1
    with (
        opened(driver),
        new_stream(driver) as stream,
        Buffer(driver, 0, PAGE) as local,
        mapped(driver, PAGE, TWO, ONE) as bad,
        mapped(driver, PAGE, THREE, ONE) as good,
    ):
        write(driver, local.address, b"0123456789", stream)
        for target in (bad, good):
            call(driver.cuMemcpyAsync, target, local.address, 10, stream)
        call(driver.cuMemcpyAsync, local.address + MIB, good, 10, stream)
        assert read(driver, local.address + MIB, 10, stream) == b"0123456789"
        call(driver.cuMemcpyAsync, local.address + MIB, bad, 4, stream)
        assert read(driver, local.address + MIB, 4, stream) != b"0123"


def test_a_lost_gpu_answers_unavailable_and_others_go_on(tmp_path: Path) -> None:
    driver = EmulatedDriver(small_node(tmp_path))
    driver.cuInit(0)
    with opened(driver, 1) as lost, opened(driver, 0) as healthy, Buffer(driver, 0, PAGE) as local:
        with new_stream(driver) as stream, mapped(driver, PAGE, TWO, ONE) as peer:
            inject(tmp_path.as_posix(), Faults(lost_gpus=(1,)))
            copied = name_of(driver.cuMemcpyAsync(peer, local.address, 100, stream))
            assert copied == "CUDA_ERROR_DEVICE_UNAVAILABLE"
            assert healthy.memory_info()[0] > 0
        for attempt in (lost.memory_info, lambda: Buffer(driver, 1, PAGE), lambda: opened(driver, 1).__enter__()):
            with pytest.raises(DriverError) as failure:
                attempt()
            assert failure.value.name == "CUDA_ERROR_DEVICE_UNAVAILABLE"
        assert call(driver.cuDeviceGetCount) == 4
        inject(tmp_path.as_posix(), Faults())
        assert lost.memory_info()[0] == driver.node.gpu_bytes
    assert driver.live() == NOTHING
    driver.close()


def test_reservations_survive_a_lost_gpu(tmp_path: Path) -> None:
    with emulated(tmp_path, faults=Faults(lost_gpus=(0,))) as driver:
        address = reserve(driver, PAGE)
        unreserve(driver, address, PAGE)
