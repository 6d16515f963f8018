"""Looks at everything that `aquahost doctor` reports, and changes nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from aquahost import __version__
from aquahost.cli.daemon_process import living_daemon
from aquahost.cli.doctor.probe import ProbeError, probe
from aquahost.cli.doctor.report import ConfigLook, DaemonLook, Gpu, Hardware, Place, Report
from aquahost.cli.output import one_line, say
from aquahost.cli.surroundings import Surroundings
from aquahost.config import paths
from aquahost.errors import AquahostError, ConfigError, UnreachableError
from aquahost.messages.snapshot import Snapshot

if TYPE_CHECKING:
    from aquahost.config.settings import Settings

_PACKAGES = (
    "torch",
    "transformers",
    "diffusers",
    "accelerate",
    "safetensors",
    "cuda-bindings",
    "pyzmq",
    "msgspec",
    "fastapi",
    "uvicorn",
    "prometheus-client",
)
_ANSWER_S = 5.0


def gather(around: Surroundings, config: Path, *, measure: bool) -> tuple[Report, Snapshot | None]:
    """The report without findings, and the daemon's snapshot if one answers.

    The hardware is what the daemon found at its start; without a daemon, or to `measure`, it is looked at anew.
    """
    settings, look = _config(config, around.env)
    snapshot, daemon = _daemon(around)
    hardware, trouble = None, None
    if snapshot is not None and not measure:
        hardware = _known_to(snapshot)
    else:
        say("testing the driver and the links …")
        try:
            hardware = probe(settings.host, around.env)
        except ProbeError as error:
            trouble = str(error)
    report = Report(
        version=__version__,
        python=platform.python_version(),
        config=look,
        daemon=daemon,
        places=[
            _place("runtime", paths.runtime_dir(around.env)),
            _place("logs", paths.log_dir(around.env)),
            _place("cache", paths.cache_dir(around.env)),
        ],
        packages={name: _installed(name) for name in _PACKAGES},
        hardware=hardware,
        hardware_from="daemon" if snapshot is not None and not measure else "probe",
        hardware_trouble=trouble,
    )
    return report, snapshot


def _config(path: Path, env: Mapping[str, str]) -> tuple[Settings, ConfigLook]:
    """The settings, or the defaults where they have mistakes."""
    from aquahost.config.loader import load
    from aquahost.config.settings import Settings

    try:
        settings, mistakes = load(path, env).settings, []
    except ConfigError as error:
        settings, mistakes = Settings(), str(error).splitlines()
    look = ConfigLook(
        path=str(path),
        models=len(settings.models),
        mistakes=mistakes,
        driver=settings.host.driver,
        leasing=settings.leasing.enabled,
        fixed_gpus={name: model.gpu for name, model in settings.models.items() if isinstance(model.gpu, int)},
    )
    return settings, look


def _daemon(around: Surroundings) -> tuple[Snapshot | None, DaemonLook]:
    socket = str(around.socket())
    pid = living_daemon(around.env)
    try:
        with around.client(timeout_s=_ANSWER_S) as client:
            snapshot = client.snapshot()
    except UnreachableError as error:
        return None, DaemonLook(socket=socket, pid=pid, trouble=str(error) if pid is not None else None)
    except AquahostError as error:
        return None, DaemonLook(socket=socket, pid=pid, answers=True, trouble=str(error))
    return snapshot, DaemonLook(socket=socket, pid=snapshot.pid, answers=True, version=snapshot.version)


def _known_to(snapshot: Snapshot) -> Hardware:
    gpus = [
        Gpu(index=gpu.index, uuid=gpu.uuid, name=gpu.name, total_bytes=gpu.total_bytes, lost=gpu.lost)
        for gpu in snapshot.gpus
    ]
    return Hardware(driver=snapshot.driver, gpus=gpus, links=snapshot.links)


def _place(what: str, path: Path) -> Place:
    """Whether the daemon could make the folder, or use it as it is."""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    trouble = None
    if not there.is_dir():
        trouble = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        trouble = f"{there} cannot be written to"
    elif there == path and path.stat().st_uid != os.getuid():
        trouble = f"{there} belongs to another user"
    return Place(what=what, path=str(path), trouble=trouble)


def _installed(name: str) -> str | None:
    try:
        return one_line(version(name))
    except PackageNotFoundError:
        return None
