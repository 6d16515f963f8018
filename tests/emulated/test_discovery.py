"""What is found of GPUs and links, where all is well and where something is broken."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquahost_cuda import discovery, link_test
from aquahost_cuda.device import read_uuid
from aquahost_cuda.discovery import discover
from aquahost_cuda.driver import HOST, Driver, EmulatedDriver, Faults, SlowLink
from aquahost_cuda.emulated.faults import inject
from aquahost_cuda.emulated.types import CUresult
from aquahost_cuda.nvml import Nvml
from aquahost_cuda.topology import Link, Topology, recall, store
from aquahost_cuda.vmm import Location
from driver_fixtures import MIB, emulated, in_parts, opened

PAIRS = {(a, b) for a in range(HOST, 3) for b in range(HOST, 3) if a != b}


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path, gpus=3) as driver:
        yield driver


def by_pair(topology: Topology) -> dict[tuple[int, int], Link]:
    return {(link.source, link.target): link for link in topology.links}


def unusable(topology: Topology) -> set[tuple[int, int]]:
    return {pair for pair, link in by_pair(topology).items() if not link.usable}


def test_every_pair_is_tested_and_measured(driver: EmulatedDriver) -> None:
    topology = discover(driver)
    assert set(by_pair(topology)) == PAIRS
    assert unusable(topology) == set()
    for (source, target), link in by_pair(topology).items():
        assert link.bytes_per_s > 0
        assert link.reason == ("host memory" if HOST in (source, target) else "emulated link")
    assert [gpu.uuid for gpu in topology.gpus] == [read_uuid(driver, index) for index in range(3)]
    assert [gpu.total_bytes for gpu in topology.gpus] == [64 * MIB] * 3
    assert {gpu.lost for gpu in topology.gpus} == {None}
    assert (topology.driver, topology.driver_version) == ("emulated", 13000)
    assert int(driver.cuCtxGetCurrent()[1]) == 0


def test_a_pair_without_peer_access_is_refused_with_the_reason(driver: EmulatedDriver) -> None:
    inject(driver.node.path, Faults(no_peer_access=((0, 2),)))
    topology = discover(driver)
    assert unusable(topology) == {(0, 2), (2, 0)}
    for pair in ((0, 2), (2, 0)):
        assert by_pair(topology)[pair].reason == "no peer access from GPU 0 to GPU 2"
        assert by_pair(topology)[pair].bytes_per_s == 0


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_a_pair_that_corrupts_bytes_in_one_direction_is_refused_in_both(
    driver: EmulatedDriver, pair: tuple[int, int]
) -> None:
    inject(driver.node.path, Faults(corrupt_peer_access=(pair,)))
    topology = discover(driver)
    assert unusable(topology) == {(0, 1), (1, 0)}
    reason = f"bytes arrive corrupted between GPU {pair[0]} and memory of GPU {pair[1]}"
    assert {by_pair(topology)[one].reason for one in ((0, 1), (1, 0))} == {reason}


def test_a_slow_link_is_told_by_its_rate(driver: EmulatedDriver) -> None:
    inject(driver.node.path, Faults(slow_links=(SlowLink(source=1, target=2, factor=1e5),)))  # 10 MB/s
    topology = discover(driver)
    assert unusable(topology) == set()
    slow = by_pair(topology)[1, 2].bytes_per_s
    assert slow <= 1.01e7
    assert slow < min(link.bytes_per_s for pair, link in by_pair(topology).items() if pair != (1, 2))


def test_a_lost_gpu_does_not_break_the_discovery_of_others(driver: EmulatedDriver) -> None:
    inject(driver.node.path, Faults(lost_gpus=(1,)))
    topology = discover(driver)
    assert [gpu.lost is not None for gpu in topology.gpus] == [False, True, False]
    assert unusable(topology) == {pair for pair in PAIRS if 1 in pair}
    assert by_pair(topology)[0, 1].reason.startswith("GPU 1 is lost: cuDevicePrimaryCtxRetain failed")
    assert by_pair(topology)[HOST, 1].reason.startswith("GPU 1 is lost")
    assert by_pair(topology)[0, 2].bytes_per_s > 0


def test_a_donor_without_free_memory_is_not_tested(driver: EmulatedDriver) -> None:
    with opened(driver, 1):
        held = int(driver.cuMemAlloc(62 * MIB)[1])
        topology = discover(driver)
        driver.cuCtxSetCurrent(driver.cuDevicePrimaryCtxRetain(1)[1])
        driver.cuMemFree(held)
        driver.cuDevicePrimaryCtxRelease(1)
    assert unusable(topology) == {pair for pair in PAIRS if 1 in pair}
    assert "the test failed: cuMemCreate failed with CUDA_ERROR_OUT_OF_MEMORY" in by_pair(topology)[0, 1].reason
    assert topology.gpus[1].lost is None


def test_a_link_too_fast_for_its_largest_copy_is_still_timed_more_than_once(
    driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_test, "_LONG_ENOUGH_S", 1e9)
    sizes: list[int] = []
    took_s = link_test.LinkTester._took_s

    def counted(tester: link_test.LinkTester, dst: int, src: int, nbytes: int) -> float:
        sizes.append(nbytes)
        return took_s(tester, dst, src, nbytes)

    monkeypatch.setattr(link_test.LinkTester, "_took_s", counted)
    link_test.probe_links(driver, 0, [Location.device(1)])
    assert sizes.count(max(sizes)) == 2 * 3  # both ways


def test_parts_of_one_gpu_are_linked_by_it(tmp_path: Path) -> None:
    with emulated(tmp_path, gpus=1) as whole, in_parts(whole, tmp_path, 2) as driver:
        topology = discover(driver)
    assert by_pair(topology)[0, 1].reason == "the same GPU"
    assert unusable(topology) == set()


def test_parts_are_tested_once_for_each_pair_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[tuple[int, tuple[int, ...]]] = []
    probe = discovery.probe_links

    def noted(driver: Driver, gpu: int, places: Any) -> Any:
        tested.append((gpu, tuple(HOST if place == Location.host() else place.index for place in places)))
        return probe(driver, gpu, places)

    monkeypatch.setattr(discovery, "probe_links", noted)
    with (
        emulated(tmp_path, gpus=2, gpu_bytes=256 * MIB, faults=Faults(corrupt_peer_access=((0, 1),))) as whole,
        in_parts(whole, tmp_path, 4) as driver,
    ):
        topology = discover(driver)
    assert tested == [(0, (HOST, 1, 4)), (4, (HOST, 5, 0))]
    links = by_pair(topology)
    assert len(links) == 9 * 8
    assert unusable(topology) == {pair for pair in links if HOST not in pair and pair[0] // 4 != pair[1] // 4}
    assert links[3, 6].reason == "bytes arrive corrupted between GPU 3 and memory of GPU 6"
    assert all(link.bytes_per_s > 0 for link in links.values() if link.usable)
    assert links[1, 2].bytes_per_s == links[3, 0].bytes_per_s
    assert len(topology.gpus) == 8


def test_all_parts_of_a_lost_gpu_are_lost(tmp_path: Path) -> None:
    with emulated(tmp_path, gpus=2, faults=Faults(lost_gpus=(1,))) as whole, in_parts(whole, tmp_path, 2) as driver:
        topology = discover(driver)
    assert [gpu.lost is not None for gpu in topology.gpus] == [False, False, True, True]
    assert unusable(topology) == {pair for pair in by_pair(topology) if {2, 3} & set(pair)}


# -- what is kept ----------------------------------------------------------------------------------------------


class LooksReal:
    """The emulated driver seen from outside as NVIDIA's."""

    def __init__(self, driver: EmulatedDriver) -> None:
        self._driver = driver
        self.version = 13000
        self.contexts = 0
        self.no_context_of: dict[int, CUresult] = {}
        """What making a context on a GPU is answered with."""

    def __getattr__(self, name: str) -> Any:
        if not name.lower().startswith("cu"):
            raise AttributeError(name)
        return getattr(self._driver, name)

    def cuDriverGetVersion(self) -> tuple[Any, int]:
        return CUresult.CUDA_SUCCESS, self.version

    def cuDevicePrimaryCtxRetain(self, dev: Any) -> tuple[Any, Any]:
        self.contexts += 1
        if int(dev) in self.no_context_of:
            return self.no_context_of[int(dev)], None
        return self._driver.cuDevicePrimaryCtxRetain(dev)


@pytest.fixture
def real(driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(discovery, "open_nvml", lambda: None)
    return LooksReal(driver)


def test_what_was_found_is_kept_for_the_same_driver_and_boot(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache" / "topology.json"
    first = discover(real, cache)
    tests = real.contexts
    assert discover(real, cache) == first
    assert real.contexts == tests
    real.version = 12080
    assert discover(real, cache).driver_version == 12080
    assert real.contexts == 2 * tests
    other_boot = tmp_path / "boot_id"
    other_boot.write_text("another boot\n")
    monkeypatch.setattr(discovery, "_BOOT_ID", other_boot)
    assert discover(real, cache).boot_id == "another boot"
    assert real.contexts == 3 * tests
    assert os.listdir(cache.parent) == ["topology.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 2}',
        '{"format": 1, "gpus": [], "links": []}',
        '{"format": 1, "gpus": [{"index": 0}], "links": []}',
    ],
)
def test_a_damaged_or_foreign_file_is_replaced(real: Any, tmp_path: Path, content: str) -> None:
    cache = tmp_path / "topology.json"
    cache.write_text(content)
    found = discover(real, cache)
    assert recall(cache, found.key()) == found


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("links", "bytes_per_s", "fast"), ("links", "usable", 1), ("gpus", "lost", 3), ("gpus", "index", "0")],
)
def test_a_file_with_wrong_values_is_no_topology(
    real: Any, tmp_path: Path, part: str, name: str, value: object
) -> None:
    cache = tmp_path / "topology.json"
    found = discover(real, cache)
    fields = json.loads(cache.read_text())
    fields[part][0][name] = value
    cache.write_text(json.dumps(fields))
    assert recall(cache, found.key()) is None


def test_a_binary_file_is_no_topology(real: Any, tmp_path: Path) -> None:
    cache = tmp_path / "topology.json"
    cache.write_bytes(b"\xff\xfe\0")
    assert recall(cache, discover(real).key()) is None


@pytest.mark.parametrize(
    ("faults", "kept"),
    [
        (Faults(lost_gpus=(1,)), False),
        (Faults(no_peer_access=((0, 1),)), True),
        (Faults(corrupt_peer_access=((0, 1),)), True),
    ],
)
def test_only_what_lasts_is_kept(real: Any, driver: EmulatedDriver, tmp_path: Path, faults: Faults, kept: bool) -> None:
    inject(driver.node.path, faults)
    discover(real, tmp_path / "topology.json")
    assert (tmp_path / "topology.json").exists() == kept


def test_a_cache_that_cannot_be_written_costs_a_word(
    real: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    topology = discover(real, tmp_path / "file" / "topology.json")
    assert unusable(topology) == set()
    said = capsys.readouterr().err
    assert said.startswith("the links found are not kept: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("code", [CUresult.CUDA_ERROR_OUT_OF_MEMORY, CUresult.CUDA_ERROR_UNKNOWN])
def test_a_gpu_that_gives_no_context_now_is_not_lost(real: Any, tmp_path: Path, code: CUresult) -> None:
    real.no_context_of = {1: code}
    topology = discover(real, tmp_path / "topology.json")
    assert [gpu.lost for gpu in topology.gpus] == [None] * 3
    assert unusable(topology) == {pair for pair in PAIRS if 1 in pair}
    assert f"the test failed: cuDevicePrimaryCtxRetain failed with {code.name}" in by_pair(topology)[HOST, 1].reason
    assert not (tmp_path / "topology.json").exists()


@pytest.mark.parametrize("code", [CUresult.CUDA_ERROR_DEVICE_UNAVAILABLE, CUresult.CUDA_ERROR_ECC_UNCORRECTABLE])
def test_a_gpu_that_answers_so_is_lost(real: Any, code: CUresult) -> None:
    real.no_context_of = {1: code}
    assert [gpu.lost is not None for gpu in discover(real).gpus] == [False, True, False]


def test_emulated_gpus_are_always_tested(driver: EmulatedDriver, tmp_path: Path) -> None:
    cache = tmp_path / "topology.json"
    store(discover(driver), cache)
    inject(driver.node.path, Faults(no_peer_access=((0, 1),)))
    assert unusable(discover(driver, cache)) == {(0, 1), (1, 0)}


# -- what NVML adds --------------------------------------------------------------------------------------------


class _NvmlError(Exception):
    pass


def fake_nvml(uuids: list[str], statuses: dict[tuple[str, str, int], int], links: int = 18) -> Any:
    """NVML that knows these GPUs; pairs of them have status 0 (good) but for those given."""

    def state(gpu: str, link: int) -> int:
        if link >= links:
            raise _NvmlError("Invalid Argument")
        return int(link % 2 == 0)

    def handle(uuid: str) -> str:
        if uuid not in uuids:
            raise _NvmlError("Not Found")
        return uuid

    return SimpleNamespace(
        NvmlError=_NvmlError,
        GpuP2PCapsIndex=SimpleNamespace(READ=0, WRITE=1, NVLINK=2),
        NVLINK_MAX_LINKS=18,
        device_get_handle_by_uuid=handle,
        device_get_memory_info_v2=lambda gpu: SimpleNamespace(free=0),
        device_get_p2p_status=lambda gpu, peer, kind: statuses.get((gpu, peer, kind), 0),
        device_get_nvlink_state=state,
        shutdown=lambda: None,
    )


def test_nvml_tells_links_and_reasons(real: Any, driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    inject(driver.node.path, Faults(no_peer_access=((0, 1),)))
    uuids = [read_uuid(driver, index) for index in range(3)]
    statuses = {(uuids[0], uuids[1], 1): 4, (uuids[1], uuids[2], 2): 5}
    monkeypatch.setattr(discovery, "open_nvml", lambda: Nvml(fake_nvml(uuids, statuses, links=4)))
    topology = discover(real)
    reasons = {pair: link.reason for pair, link in by_pair(topology).items() if HOST not in pair}
    denied = "no peer access from GPU 0 to GPU 1: it can't write there: a registry key of the driver disables it"
    assert reasons[0, 1] == reasons[1, 0] == denied
    assert reasons[0, 2] == "NVLink"
    assert reasons[1, 2] == "PCIe"
    assert [gpu.nvlinks for gpu in topology.gpus] == [2, 2, 2]


def test_gpus_unknown_to_nvml_are_tested_all_the_same(
    real: Any, driver: EmulatedDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "open_nvml", lambda: Nvml(fake_nvml([read_uuid(driver, 0)], {})))
    topology = discover(real)
    assert by_pair(topology)[0, 1].reason == "peer access"
    assert [gpu.nvlinks for gpu in topology.gpus] == [9, None, None]
