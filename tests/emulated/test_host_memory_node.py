"""Host memory lies on the NUMA node nearest to the GPU that uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aquahost_cuda.arena import Arena
from aquahost_cuda.check import DriverError
from aquahost_cuda.driver import Driver, EmulatedDriver
from aquahost_cuda.emulated.types import CUmemLocationType, CUresult
from aquahost_cuda.link_test import probe_links
from aquahost_cuda.vmm import Buffer, Location, create_memory, granularity, host_node
from driver_fixtures import PAGE, emulated, in_parts


class TwoNodes:
    """The emulated driver on a machine whose GPUs 2 and 3 are near to node 1; notes where host memory is asked for."""

    def __init__(self, driver: EmulatedDriver) -> None:
        self._driver = driver
        self.answer: tuple[Any, Any] | None = None
        """What any question for a node is answered with."""
        self.created: list[int] = []
        self.granular: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def cuDeviceGetAttribute(self, attrib: Any, dev: Any) -> tuple[Any, Any]:
        if attrib != self._driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID:
            return self._driver.cuDeviceGetAttribute(attrib, dev)
        return self.answer or (CUresult.CUDA_SUCCESS, int(dev) // 2)

    def cuMemGetAllocationGranularity(self, prop: Any, option: Any) -> tuple[Any, Any]:
        self._note(prop, self.granular)
        return self._driver.cuMemGetAllocationGranularity(prop, option)

    def cuMemCreate(self, size: int, prop: Any, flags: int) -> tuple[Any, Any]:
        self._note(prop, self.created)
        return self._driver.cuMemCreate(size, prop, flags)

    def _note(self, prop: Any, into: list[int]) -> None:
        if prop.location.type == CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST_NUMA:
            into.append(prop.location.id)


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


@pytest.fixture
def driver(inner: EmulatedDriver) -> Any:
    return TwoNodes(inner)


@pytest.mark.parametrize(("gpu", "node"), [(1, 0), (2, 1)])
def test_a_buffer_lies_near_its_gpu(driver: Any, gpu: int, node: int) -> None:
    Buffer(driver, gpu, PAGE, Location.host()).close()
    assert driver.created == driver.granular == [node]


@pytest.mark.parametrize(("gpu", "node"), [(1, 0), (2, 1)])
def test_an_arena_takes_host_memory_near_its_gpu(driver: Any, gpu: int, node: int) -> None:
    with Arena(driver, gpu, 3 * PAGE, PAGE) as arena:
        arena.map([0], Location.host())
        arena.grow(1)
        arena.begin_move(1, Location.host()).finish()
        assert arena.locations() == (Location.host(), Location.host(), None)
        assert arena.bytes_at(Location.host()) == 2 * PAGE
    assert driver.created == [node, node]
    assert set(driver.granular) == {node}


def test_a_node_that_is_named_is_taken(driver: Any) -> None:
    Buffer(driver, 0, PAGE, Location.host(1)).close()
    assert driver.created == [1]


def test_links_to_the_host_are_tested_near_the_gpu(driver: Any) -> None:
    assert probe_links(driver, 3, [Location.host()])[Location.host()].problem is None
    assert driver.created == [1]


def test_where_no_gpu_is_known_it_is_node_0(driver: Any, inner: EmulatedDriver) -> None:
    inner.cuMemRelease(create_memory(driver, PAGE, Location.host()))
    granularity(driver, Location.host())
    assert driver.created == driver.granular == [0]


@pytest.mark.parametrize("answer", [(CUresult.CUDA_SUCCESS, -1), (CUresult.CUDA_ERROR_INVALID_VALUE, None)])
def test_without_numa_or_a_word_on_it_it_is_node_0(driver: Any, answer: tuple[Any, Any]) -> None:
    driver.answer = answer
    Buffer(driver, 3, PAGE, Location.host()).close()
    assert driver.created == [0]


def test_parts_are_near_to_what_their_gpu_is_near_to(driver: Any, tmp_path: Path) -> None:
    with in_parts(cast("Driver", driver), tmp_path, 2) as parts:
        assert [host_node(parts, gpu) for gpu in range(8)] == [0] * 4 + [1] * 4


def test_a_node_below_0_is_refused(inner: EmulatedDriver) -> None:
    prop = inner.CUmemAllocationProp()
    prop.type = inner.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    prop.location.type = inner.CUmemLocationType.CU_MEM_LOCATION_TYPE_HOST_NUMA
    prop.location.id = -1
    assert inner.cuMemCreate(PAGE, prop, 0) == (CUresult.CUDA_ERROR_INVALID_VALUE, None)


def test_a_gpu_that_is_not_there_fails_as_before(driver: Any) -> None:
    with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_DEVICE"):
        Buffer(driver, 9, PAGE, Location.host())
