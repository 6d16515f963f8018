"""What the kernel knows of a process: its CPU time and resident memory, from /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path


def cpu_s(pid: int) -> float:
    """User and system time of a process and all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Resident memory (RSS), pages shared with other processes included."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def machine_cpu_s() -> float:
    """Time that the cores which this process may use have been at work for anybody, in seconds."""
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    # user, nice, system, irq, softirq; without idle time and waits.
    ticks = (sum(int(line[place]) for place in (1, 2, 3, 6, 7)) for line in lines if line and line[0] in cores)
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


class OthersCpu:
    """What processes other than the measured ones keep busy of this machine, from now on."""

    def __init__(self, measured: Sequence[int]) -> None:
        self._measured = measured
        self._began_s = time.monotonic()
        self._before_s = self._others_s()

    def cores(self) -> float | None:
        """Cores that they have kept busy on average so far; None if a measured process is gone."""
        others_s = self._others_s()
        if others_s is None or self._before_s is None:
            return None
        return max(others_s - self._before_s, 0.0) / (time.monotonic() - self._began_s)

    def _others_s(self) -> float | None:
        try:
            return machine_cpu_s() - sum(cpu_s(pid) for pid in self._measured)
        except OSError:
            return None
