"""What a daemon is built of, derived from its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from aquahost.config.paths import log_name
from aquahost.config.settings import HostSettings, Kind, ModelSettings, Settings
from aquahost.daemon.hosted_model import HostedModel
from aquahost.daemon.jobs.accounts import AccountWeights
from aquahost.daemon.listeners import check_socket_path
from aquahost.daemon.supervision_limits import SupervisionLimits
from aquahost.scheduling.slicer import StepTimes


def endpoint(run_dir: Path) -> str:
    """Where workers reach the daemon. Raises StartError if the path is too long."""
    path = run_dir / "workers.sock"
    check_socket_path(path)
    return f"ipc://{path}"


def hosted_model(
    host: HostSettings, log_dir: Path, name: str, entry: ModelSettings, step_times: StepTimes | None = None
) -> HostedModel:
    """A configured model."""
    limits = SupervisionLimits(
        heartbeat_timeout_s=host.heartbeat_timeout_s,
        step_timeout_s=host.step_timeout_s,
        max_restarts=host.max_restarts,
    )
    return HostedModel(name, entry, limits, log_dir / log_name(name), step_times)


def hosted_models(settings: Settings, log_dir: Path, step_times: Mapping[str, StepTimes]) -> dict[str, HostedModel]:
    """The configured models, by name. `step_times`: of those whose steps were measured before."""
    return {
        name: hosted_model(settings.host, log_dir, name, entry, step_times.get(name))
        for name, entry in settings.models.items()
    }


def account_weights(tenants: Mapping[str, float], settings: Settings) -> AccountWeights:
    """The shares of tenants, which may change, and of their jobs."""
    return AccountWeights(tenants, settings.jobs.weight)


def worker_threads(settings: Settings) -> int:
    """torch threads of one worker: the cores (or `cpu_threads`) shared out, at least one."""
    threads = settings.host.cpu_threads or len(os.sched_getaffinity(0))
    workers = sum(model.kind is not Kind.TOY for model in settings.models.values())
    return max(1, threads // max(1, workers))
