"""All that `aquahost doctor` found: the one object that `-o json` writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from aquahost.messages.snapshot import LinkView

HOST = -1
"""Stands for host memory among the ends of links."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU."""

    index: int
    uuid: str
    name: str
    total_bytes: int
    lost: str | None = None
    """Why it cannot be used any more."""
    nvlinks: int | None = None
    """NVLinks that are up; None where that is not known."""


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """What `python -m aquahost_cuda.probe` writes, or as much of it as a running daemon's snapshot tells."""

    driver: str
    """"cuda" or "emulated"."""
    driver_version: int = 0
    """1000 times the major version of CUDA that the driver supports, plus 10 times the minor; 0 if it is not known."""
    boot_id: str = ""
    why_not_cuda: str | None = None
    gpus: list[Gpu] = []
    links: list[LinkView] = []
    """Both directions of each pair of GPUs, and of each GPU with the host (-1)."""
    hints: list[str] = []
    """What the machine does that slows links down or breaks them, in words."""


class DaemonLook(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon as seen from outside."""

    socket: str
    pid: int | None = None
    """Of the process that says it is the daemon, whether or not it answers."""
    answers: bool = False
    version: str | None = None
    trouble: str | None = None
    """Why it gave no snapshot; None also where simply none runs."""


class ConfigLook(msgspec.Struct, frozen=True, kw_only=True):
    """models.yaml, checked."""

    path: str
    models: int = 0
    mistakes: list[str] = []
    driver: str = "auto"
    """host.driver."""
    leasing: bool = True
    """leasing.enabled."""
    fixed_gpus: dict[str, int] = {}
    """By model, the GPU that it is to live on; without models that take any."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that the daemon needs."""

    what: str
    path: str
    trouble: str | None = None


class Severity(StrEnum):
    """Whether a finding makes the command end with 1."""

    PROBLEM = "problem"
    """Keeps models from running, or GPUs from lending."""
    NOTE = "note"
    """Good to know."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was found."""

    severity: Severity
    what: str
    advice: str
    """What to do about it."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, before and after it is judged."""

    version: str
    """Of this command."""
    python: str
    config: ConfigLook
    daemon: DaemonLook
    places: list[Place]
    packages: dict[str, str | None]
    """Installed version by distribution; None for what is missing."""
    hardware: Hardware | None
    hardware_from: Literal["daemon", "probe"]
    hardware_trouble: str | None = None
    """Why nothing is known of the hardware."""
    findings: list[Finding] = []
