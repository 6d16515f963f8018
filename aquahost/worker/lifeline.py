"""A worker never outlives its daemon, however either ends, and takes along what it started, pool processes included.

Four ropes, since each alone has a gap. The kernel's parent-death signal kills a worker whose daemon dies, even in the
middle of a C call; comparing the parent's pid closes the time before that was set; a guard, a process forked before
anything else is begun, kills the worker's whole group once the worker itself is gone, whatever killed it; and should
the kernel have no parent-death signal, the standard input's end tells the worker of its daemon's.

What leaves the worker's process group, as a daemon of its own would, is out of reach.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
STDIN = 0
GUARD_NAME = b"aquahost-guard"
"""As `ps -o comm` shows it."""
GUARD_SIGNAL = signal.SIGUSR1
GUARD_LOOKS_S = 1.0
"""The guard also looks by itself this often, for a kernel without parent-death signals."""


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies. To be called first of all."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def guard_group() -> None:
    """Fork a guard that kills this process's group, itself included, as soon as this process is gone.

    To be called while the process is still small and has one thread. Does nothing unless it leads its own group. The
    guard is of the group: as long as it waits, nobody else can get the group's number, so it never hits a stranger,
    and whoever kills the group leaves no guard behind.
    """
    worker = os.getpid()
    if os.getpgrp() != worker:
        return
    # A signal that is blocked waits for sigtimedwait: none ends the guard, not even in its first moment.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    if os.fork() == 0:
        _guard(worker)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _guard(worker: int) -> NoReturn:
    try:
        _prctl(PR_SET_NAME, GUARD_NAME)
        _prctl(PR_SET_PDEATHSIG, GUARD_SIGNAL)
        while os.getppid() == worker:
            signal.sigtimedwait({GUARD_SIGNAL}, GUARD_LOOKS_S)
    finally:
        os.killpg(worker, signal.SIGKILL)
        os._exit(1)


def _prctl(option: int, value: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


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
