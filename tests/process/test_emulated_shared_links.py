"""Links of an emulated node are shared by the processes that have it open, as a node's links are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aquahost_cuda.check import call
from aquahost_cuda.driver import HOST, EmulatedDriver
from aquahost_cuda.emulated.link_times import LinkTimes
from aquahost_cuda.vmm import Buffer
from driver_fixtures import PAGE, emulated, new_stream, opened

pytestmark = pytest.mark.alone

LATENCY_S = 0.05
COPIES = 4
_COPIER = f"""
import sys
from pathlib import Path
from aquahost_cuda.driver import load
from driver_fixtures import small_node
from test_emulated_shared_links import copy_out
driver = load("emulated", small_node(Path(sys.argv[1]), host_latency_s={LATENCY_S}))
print("ready", flush=True)
sys.stdin.readline()
print(*copy_out(driver))
"""
_HOLDER = """
import sys, time
from aquahost_cuda.emulated.link_times import LinkTimes
with LinkTimes(sys.argv[1]).locked():
    print("ready", flush=True)
    time.sleep(60)
"""


def copy_out(driver: EmulatedDriver) -> tuple[float, float]:
    """When a row of copies from GPU 0 to the host began and ended."""
    with opened(driver), new_stream(driver) as stream, Buffer(driver, 0, PAGE) as buffer:
        host = call(driver.cuMemHostAlloc, PAGE, 0)
        start_s = time.monotonic()
        for _ in range(COPIES):
            call(driver.cuMemcpyAsync, host, buffer.address, 100, stream)
        call(driver.cuStreamSynchronize, stream)
        end_s = time.monotonic()
        call(driver.cuMemFreeHost, host)
    return start_s, end_s


@contextmanager
def other_process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `script` and has said that it is ready."""
    python_path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": python_path},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_processes_over_one_link_take_twice_as_long_as_one(tmp_path: Path) -> None:
    with (
        emulated(tmp_path, host_latency_s=LATENCY_S) as driver,
        other_process(_COPIER, tmp_path) as other,
    ):
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.write("go\n")
        other.stdin.flush()
        start_s, end_s = copy_out(driver)
        their_start_s, their_end_s = (float(part) for part in other.stdout.readline().split())
    # However the two came to lie in time: the link carries one copy after another.
    assert max(end_s, their_end_s) - min(start_s, their_start_s) >= 2 * COPIES * LATENCY_S


def test_a_process_killed_with_the_lock_held_stops_nobody(tmp_path: Path) -> None:
    times = LinkTimes(str(tmp_path))
    with other_process(_HOLDER, tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert times.take({(0, HOST): 2.0}, 10.0) == 12.0
    times.close()
