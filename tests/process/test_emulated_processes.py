"""An emulated node shared by processes: what one holds the others miss, until it ends, however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aquahost_cuda.check import OutOfMemoryError, call
from aquahost_cuda.device import read_uuid
from aquahost_cuda.driver import EmulatedDriver
from aquahost_cuda.vmm import Buffer, Location, grant, reserve, unreserve
from driver_fixtures import MIB, PAGE, emulated, new_stream, opened, read, small_node
from emulated_holder import MESSAGE


class Holder:
    """Another process that has the node open and does as it is told."""

    def __init__(self, path: Path, *descriptors: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "emulated_holder", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            pass_fds=descriptors,
        )

    def start(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def finish(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "done\n"

    def do(self, command: str) -> None:
        self.start(command)
        self.finish()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.communicate()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def holder(path: Path, *descriptors: int) -> Iterator[Holder]:
    other = Holder(path, *descriptors)
    try:
        yield other
    finally:
        other.close()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[EmulatedDriver]:
    with emulated(tmp_path) as driver:
        yield driver


def free_bytes(driver: EmulatedDriver, gpu: int) -> int:
    return driver.memory_of(gpu)[0]


def test_what_another_process_holds_is_missing_here(driver: EmulatedDriver, tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.do(f"hold 1 {48 * MIB}")
        assert [free_bytes(driver, gpu) for gpu in range(4)] == [64 * MIB, 16 * MIB, 64 * MIB, 64 * MIB]
        with pytest.raises(OutOfMemoryError):
            Buffer(driver, 1, 18 * MIB)
        with Buffer(driver, 1, 16 * MIB):
            assert free_bytes(driver, 1) == 0
        other.do("drop")
        assert free_bytes(driver, 1) == 64 * MIB


def test_memory_of_a_killed_process_is_free(driver: EmulatedDriver, tmp_path: Path) -> None:
    with holder(tmp_path) as other, holder(tmp_path) as survivor:
        other.do(f"hold 0 {64 * MIB}")
        survivor.do(f"hold 2 {2 * MIB}")
        assert free_bytes(driver, 0) == 0
        other.kill()
        with Buffer(driver, 0, 64 * MIB):
            assert (free_bytes(driver, 0), free_bytes(driver, 2)) == (0, 62 * MIB)
        assert len(list(tmp_path.glob("*.holdings"))) == 2


def test_processes_that_allocate_at_once_never_exceed_a_gpu(driver: EmulatedDriver, tmp_path: Path) -> None:
    with holder(tmp_path) as first, holder(tmp_path) as second, holder(tmp_path) as third:
        for other in (first, second, third):
            other.start("churn 0 200")
        for other in (first, second, third):
            other.finish()
        assert free_bytes(driver, 0) == 64 * MIB


def test_exported_memory_counts_once_and_outlives_its_maker(driver: EmulatedDriver, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, holder(tmp_path, theirs.fileno()) as other:
        other.do(f"export 1 {4 * MIB} {theirs.fileno()}")
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        kind = driver.CUmemAllocationHandleType.CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR
        handle = call(driver.cuMemImportFromShareableHandle, descriptors[0], kind)
        os.close(descriptors[0])
        assert free_bytes(driver, 1) == 60 * MIB
        other.kill()
        assert free_bytes(driver, 1) == 60 * MIB
        address = reserve(driver, 4 * MIB)
        call(driver.cuMemMap, address, 4 * MIB, 0, handle, 0)
        call(driver.cuMemRelease, handle)
        with opened(driver), new_stream(driver) as stream:
            grant(driver, address, 4 * MIB, [Location.device(0)])
            assert read(driver, address, 14, stream) == MESSAGE
        call(driver.cuMemUnmap, address, 4 * MIB)
        unreserve(driver, address, 4 * MIB)
        assert free_bytes(driver, 1) == 64 * MIB


def test_memory_here_is_untouched_by_what_dies_elsewhere(driver: EmulatedDriver, tmp_path: Path) -> None:
    with Buffer(driver, 0, PAGE) as buffer:
        with holder(tmp_path) as other:
            other.do(f"hold 0 {8 * MIB}")
            other.kill()
        assert free_bytes(driver, 0) == 64 * MIB - buffer.nbytes


def test_a_node_has_one_shape_while_anyone_has_it_open(driver: EmulatedDriver, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is open as"):
        EmulatedDriver(small_node(tmp_path, gpus=2))
    other_folder = EmulatedDriver(small_node(tmp_path / "other", gpus=2))
    other_folder.close()
    reopened = EmulatedDriver(small_node(tmp_path / "other", gpus=3))
    reopened.close()


def test_both_processes_know_a_gpu_by_the_same_name(driver: EmulatedDriver, tmp_path: Path) -> None:
    script = (
        "import sys; from aquahost_cuda.driver import *; from aquahost_cuda.device import read_uuid;"
        "sys.stdout.write(read_uuid(load('emulated',"
        " EmulatedNode(path=sys.argv[1], gpus=4, gpu_bytes=64 << 20)), 2))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    theirs = subprocess.check_output([sys.executable, "-c", script, str(tmp_path)], text=True, env=environment)
    assert theirs == read_uuid(driver, 2) != read_uuid(driver, 1)
