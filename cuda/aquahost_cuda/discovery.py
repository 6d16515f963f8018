"""Finding the topology: what is advertised is looked up, and what is advertised as good is tested."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path

from aquahost_cuda.check import DriverError, call
from aquahost_cuda.device import read_identity
from aquahost_cuda.driver import HOST, Driver, driver_name, physical_index
from aquahost_cuda.link_test import LinkTest, probe_links
from aquahost_cuda.nvml import open_nvml
from aquahost_cuda.peer_access import PeerAccess
from aquahost_cuda.topology import Gpu, Link, Topology, recall, store
from aquahost_cuda.vmm import Location

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def discover(driver: Driver, cache: Path | None = None) -> Topology:
    """The GPUs and all links between them and to the host, each tested in both directions and measured.

    Every GPU writes a pattern to memory on every other that it reaches, with no context there, reads it back and
    compares all bytes; a pair that fails either way is not usable in either. A GPU that fails keeps no other from being
    tested. Of GPUs shown in parts one pair is tested for each pair of physical GPUs, and speaks for all. On real GPUs a
    context is made on each in turn, which takes seconds: best called in a process of its own.

    `cache` is a file for what was found, good for these GPUs (by UUID), this version of the driver and this boot of the
    machine. It is not used for emulated GPUs, which are tested in less than a second and may change their faults, nor
    written while something failed that may be well another time. Where it can't be written, a line on standard error
    says so.

    Raises DriverError if the GPUs can't be found. No GPU is current in this thread afterwards.
    """
    bare = _identify(driver)
    if driver_name(driver) == "emulated" or not bare.boot_id:
        cache = None
    known = recall(cache, bare.key()) if cache is not None else None
    if known is not None:
        return known
    nvml = open_nvml() if driver_name(driver) == "cuda" else None
    with closing(nvml) if nvml is not None else nullcontext():
        found = {gpu.index: nvml.find(gpu.uuid) for gpu in bare.gpus} if nvml is not None else {}
        access = PeerAccess(driver, nvml, {index: handle for index, handle in found.items() if handle is not None})
        survey = _survey(driver, bare.gpus, access)
        topology = replace(bare, gpus=survey.gpus, links=_links(survey, access))
    transient = any(test.transient for test in survey.tests.values()) or any(gpu.lost for gpu in survey.gpus)
    if cache is not None and not transient:
        _keep(topology, cache)
    return topology


def _keep(topology: Topology, cache: Path) -> None:
    """Write what was found to the cache, without which it is found again next time."""
    try:
        store(topology, cache)
    except OSError as error:
        sys.stderr.write(f"the links found are not kept: {' '.join(str(error).split())}\n")


@dataclass(frozen=True, slots=True)
class _Survey:
    """All that was looked up and tested."""

    gpus: tuple[Gpu, ...]
    denied: Mapping[tuple[int, int], str]
    """By (GPU, peer): why the one can't reach the other's memory."""
    tests: Mapping[tuple[int, int], LinkTest]
    """By (GPU that wrote and read, place)."""


def _identify(driver: Driver) -> Topology:
    gpus = []
    for index in range(int(call(driver.cuDeviceGetCount))):
        uuid, name, total_bytes = read_identity(driver, index)
        gpus.append(Gpu(index=index, uuid=uuid, name=name, total_bytes=total_bytes))
    return Topology(
        driver=driver_name(driver),
        driver_version=int(call(driver.cuDriverGetVersion)),
        boot_id=_read_boot_id(),
        gpus=tuple(gpus),
        links=(),
    )


def _read_boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # some sandboxes hide it
        return ""


def _survey(driver: Driver, gpus: Sequence[Gpu], access: PeerAccess) -> _Survey:
    indices = [gpu.index for gpu in gpus]
    denied = {
        pair: reason for pair in permutations(indices, 2) for reason in [access.why_not(*pair)] if reason is not None
    }
    parts = _Parts(driver, indices)
    lost: dict[int, str] = {}
    tests: dict[tuple[int, int], LinkTest] = {}
    for gpu in parts.first:
        reached = [peer for peer in parts.stand_ins(gpu) if (gpu, peer) not in denied]
        places = {HOST: Location.host()} | {peer: Location.device(peer) for peer in reached}
        try:
            results = probe_links(driver, gpu, places.values())
            tests.update({(gpu, number): results[place] for number, place in places.items()})
        except DriverError as error:
            lost[gpu] = str(error)
    surveyed = tuple(
        replace(gpu, lost=lost.get(parts.first_of(gpu.index)), nvlinks=access.nvlinks(gpu.index)) for gpu in gpus
    )
    spoken_for = {(gpu, place): parts.stand_in(gpu, place) for gpu, place in permutations([*indices, HOST], 2)}
    return _Survey(
        gpus=surveyed,
        denied=denied,
        tests={pair: tests[stand_in] for pair, stand_in in spoken_for.items() if stand_in in tests},
    )


class _Parts:
    """Which GPUs are parts of one physical GPU, and which of them are tested for all: parts share their physical GPU's
    context and links. A GPU that is not shown in parts is its own and only one.
    """

    def __init__(self, driver: Driver, indices: Sequence[int]) -> None:
        self._physical = {index: physical_index(driver, index) for index in indices}
        groups: dict[int, list[int]] = {}
        for index, physical in self._physical.items():
            groups.setdefault(physical, []).append(index)
        self._groups = groups
        self.first = [group[0] for group in groups.values()]
        """The GPU that stands for each physical one."""

    def first_of(self, gpu: int) -> int:
        """The GPU that stands for the physical one of this."""
        return self._groups[self._physical[gpu]][0]

    def stand_ins(self, gpu: int) -> list[int]:
        """What one that stands for its physical GPU is to reach: its neighbour in it, and who stands for the others."""
        return self._groups[self._physical[gpu]][1:2] + [other for other in self.first if other != gpu]

    def stand_in(self, gpu: int, place: int) -> tuple[int, int] | None:
        """The (GPU, place) whose test holds for these; None for the host, which tests nothing."""
        if gpu == HOST:
            return None
        if place == HOST:
            return self.first_of(gpu), HOST
        if self.first_of(gpu) == self.first_of(place):
            return self.first_of(gpu), self._groups[self._physical[gpu]][1]
        return self.first_of(gpu), self.first_of(place)


def _links(survey: _Survey, access: PeerAccess) -> tuple[Link, ...]:
    """A link for each ordered pair."""
    lost = {gpu.index: gpu.lost for gpu in survey.gpus if gpu.lost is not None}
    links = []
    for source, target in permutations([HOST, *(gpu.index for gpu in survey.gpus)], 2):
        problem = _problem(survey, lost, source, target)
        if problem is not None:
            links.append(Link(source=source, target=target, usable=False, reason=problem, bytes_per_s=0.0))
            continue
        rates = []
        if source != HOST:
            rates.append(survey.tests[source, target].write_bytes_per_s)
        if target != HOST:
            rates.append(survey.tests[target, source].read_bytes_per_s)
        what = "host memory" if HOST in (source, target) else access.describe(source, target)
        links.append(Link(source=source, target=target, usable=True, reason=what, bytes_per_s=min(rates)))
    return tuple(links)


def _problem(survey: _Survey, lost: Mapping[int, str], source: int, target: int) -> str | None:
    """Why bytes may not be sent between two places, either way; the same for both ways."""
    ends = (source, target)
    for gpu in ends:
        if gpu in lost:
            return f"GPU {gpu} is lost: {lost[gpu]}"
    for pair in (ends, ends[::-1]):
        if pair in survey.denied:
            return survey.denied[pair]
    for gpu, place in (ends, ends[::-1]):
        test = survey.tests.get((gpu, place))
        if test is not None and test.problem is not None:
            where = "host memory" if place == HOST else f"memory of GPU {place}"
            return f"{test.problem} between GPU {gpu} and {where}"
    return None
