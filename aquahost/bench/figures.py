"""A measured figure, and the place it was measured at."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value, with the bar it is held to."""

    name: str
    value: float
    unit: str
    bar: str = ""
    """What it should be, for people ("< 0.4"); empty where it is only recorded."""
    met: bool | None = None
    """Whether the bar is met; None where there is none."""
    note: str = ""


def at_most(name: str, value: float, unit: str, bar: float, note: str = "") -> Figure:
    """A figure that should not exceed `bar`."""
    return Figure(name=name, value=value, unit=unit, bar=f"<= {bar:g}", met=value <= bar, note=note)


def at_least(name: str, value: float, unit: str, bar: float, note: str = "") -> Figure:
    """A figure that should reach `bar`."""
    return Figure(name=name, value=value, unit=unit, bar=f">= {bar:g}", met=value >= bar, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Machine, date and commit of a measurement."""

    machine: str
    date: str
    commit: str
    python: str
    packages: dict[str, str]


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str:
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def this_place() -> Place:
    """Where and when we are."""
    packages = {}
    for name in ("aquahost", "torch", "transformers", "diffusers"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Place(
        machine=f"{_cpu_name()}, {len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB",
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        commit=_commit(),
        python=platform.python_version(),
        packages=packages,
    )
