"""Measured profiles: a process that measures is started, listened to, and what it found is made a profile."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from aquahost.config.settings import Kind, ModelSettings, Settings
from aquahost.daemon.assembly import worker_threads
from aquahost.daemon.wall_time import utc_now
from aquahost.errors import ConfigError, StartError
from aquahost.profiler.config_files import config_folder, subject
from aquahost.profiler.keys import measured_key
from aquahost.profiler.wire import FromMeasuring, Measured, MeasureSpec, Note, Refused
from aquahost.profiles.profile import Profile

_LAST_LINES = 5


def measure(name: str, model: ModelSettings, settings: Settings, progress: Callable[[Note], None]) -> Profile:
    """The profile of entry `name`, measured on this host's first GPU (or the entry's), alone; not stored.

    A worker's number of torch threads is used, as `settings` gives it. Raises ConfigError if the model can't be loaded
    or needs several GPUs, StartError if the measuring process fails.
    """
    if model.kind is Kind.TOY:
        raise ConfigError(f"{name}: a toy has no costs to measure; its step_s says what it takes")
    if model.tensor_parallel > 1:
        raise ConfigError(f"{name}: models on several GPUs can't be measured; --gpu H100 works its costs out")
    folder = config_folder(name, model)
    if Path(model.source).is_absolute() and next(folder.rglob("*.safetensors"), None) is None:
        where = subject(name, str(folder))
        raise ConfigError(f"{name}: {where} has no weights to measure with; --gpu H100 works its costs out without")
    spec = MeasureSpec(
        name=name,
        model=model.model_dump(mode="json"),
        scheduler=settings.scheduler.model_dump(mode="json"),
        host=settings.host.model_dump(mode="json"),
        threads=worker_threads(settings),
    )
    found = _listen(name, spec, progress)
    scheduler = settings.scheduler
    return Profile(
        source=model.source,
        key=measured_key(folder, model, step_tokens=scheduler.step_tokens, max_batch=scheduler.max_batch),
        gpu=found.gpu,
        dtype=found.dtype,
        measured=True,
        at=utc_now(),
        parameters=found.parameters,
        costs=found.costs,
        peer_bytes_per_s=found.peer_bytes_per_s,
        host_bytes_per_s=found.host_bytes_per_s,
    )


def _listen(name: str, spec: MeasureSpec, progress: Callable[[Note], None]) -> Measured:
    line = [sys.executable, "-P", "-m", "aquahost.profiler"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=dict(os.environ)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(spec) + b"\n")
            process.stdin.flush()
            for told in process.stdout:
                message: FromMeasuring = msgspec.json.decode(told, type=FromMeasuring)
                match message:
                    case Note():
                        progress(message)
                    case Refused(reason):
                        raise ConfigError(f"{name}: {reason}")
                    case Measured():
                        return message
            process.wait()
            log.seek(0)
            last = log.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
            raise StartError("\n".join([f"measuring {name} failed with status {process.returncode}:", *last]))
        finally:
            process.kill()
            process.communicate()
