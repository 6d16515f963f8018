"""A worker never outlives its daemon, however the daemon ends, and takes along whatever it started.

Three ropes, since each alone has a gap. The kernel's parent-death signal kills a worker whose daemon dies, even in the
middle of a C call; comparing the parent's pid closes the time before that was set; and the standard input's end, which
comes as soon as the daemon is gone, lets the worker kill its own process group, pool processes included.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal

PR_SET_PDEATHSIG = 1
STDIN = 0


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. To be called first of all."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def leave_if_orphan(parent_pid: int) -> None:
    """Exit at once if the parent died before `die_with_parent` was called."""
    if os.getppid() != parent_pid:
        os._exit(1)


def read_first_line(fd: int = STDIN) -> bytes:
    """The first line from `fd`, unbuffered, so that its end can still be watched. Exits if the daemon is gone."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = os.read(fd, 65536)
        if not part:
            os._exit(1)
        line += part
    return bytes(line)


def wait_for_end(timeout_s: float, fd: int = STDIN) -> bool:
    """Wait for the daemon's end; returns whether it has come."""
    watch = select.poll()
    watch.register(fd, select.POLLIN | select.POLLHUP)
    return bool(watch.poll(timeout_s * 1000))


def kill_group() -> None:
    """Kill this process and all it started. Only for a process that leads its own group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
