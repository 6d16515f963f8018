"""All that a worker is told at its birth."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aquahost.scheduling.slicer import StepTimes


class DriverSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Which GPU driver the worker loads."""

    choice: Literal["cuda", "emulated"]
    node: dict[str, Any] | None = None
    """Fields of `aquahost_cuda`'s EmulatedNode; set exactly for the emulated driver."""
    partition: int = 1
    """As how many GPUs each real one is shown."""
    partition_path: str | None = None
    """Folder where all processes of the run record what they hold of them; set exactly where `partition` is above 1."""


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One line of JSON on the worker's standard input, which then stays open as long as the daemon lives."""

    name: str
    """The model's."""
    worker_id: int
    """Different for every worker of one daemon's life."""
    endpoint: str
    """ZeroMQ endpoint of the daemon's ROUTER."""
    parent_pid: int
    gpu: int
    turns_path: str
    """The board on which all workers of the same real GPU say whose turn it is to compute."""
    threads: int
    """For torch."""
    driver: DriverSpec
    model: dict[str, Any]
    """A `ModelSettings` as plain values."""
    scheduler: dict[str, Any]
    """A `SchedulerSettings` as plain values."""
    step_times: StepTimes | None = None
    """What a language model's steps take, as a profile says; None without one."""
    leasing: dict[str, Any]
    """A `LeasingSettings` as plain values; `enabled` is false also where there is nobody to lend."""
    log_prompts: bool = False
    """Whether its log may quote prompts."""
    log_format: str = "text"
    """host.log_format."""


LOAD_FAILED_STATUS = 3
"""Exit status of a worker whose model cannot be loaded; a crash's is anything else but 0."""


def voice_identity(worker_id: int) -> bytes:
    """ZeroMQ identity of the worker's main socket."""
    return b"w%d" % worker_id


def pulse_identity(worker_id: int) -> bytes:
    """ZeroMQ identity of its heartbeat's socket."""
    return b"h%d" % worker_id


def worker_of(identity: bytes) -> int:
    """The worker that has this identity. Raises ValueError for a stranger's."""
    return int(identity[1:])
