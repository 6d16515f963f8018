"""The process that measures a model: loads it with its engine on the host's driver, alone, as a worker would."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from aquahost.config.settings import HostSettings, Kind, ModelSettings, SchedulerSettings
from aquahost.errors import LoadError
from aquahost.messages.wire import LoadProgress
from aquahost.profiler.wire import FromMeasuring, Measured, MeasureSpec, Note, Refused
from aquahost.profiles.profile import GatedCosts, LanguageCosts
from aquahost.units import GIB
from aquahost.worker.lifeline import die_with_parent, read_first_line

logger = logging.getLogger(__name__)

_LEAST_EMULATED_BYTES = 4 * GIB
"""Of an emulated GPU: its memory costs nothing until it is written, and a model measured alone need not be short."""


def main() -> None:
    """Read a `MeasureSpec` from standard input, write `Note`s and then `Measured` or `Refused` to standard output."""
    die_with_parent()
    spec = msgspec.json.decode(read_first_line(), type=MeasureSpec)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(spec.threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="aquahost-profile.") as folder:
            _tell(_measure(spec, Path(folder)))
    except LoadError as error:
        _tell(Refused(str(error)))


def _tell(message: FromMeasuring) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def _note(what: str, done: int, total: int) -> None:
    _tell(Note(what, done, total))


def _measure(spec: MeasureSpec, folder: Path) -> Measured:
    from aquahost.engines.device import EngineDevice
    from aquahost.engines.gated import GatedEngine
    from aquahost.engines.llm.engine import LlmEngine
    from aquahost.engines.registry import load_engine

    settings = _alone(ModelSettings.model_validate(spec.model))
    scheduler = SchedulerSettings.model_validate(spec.scheduler)
    driver, gpus = _driver(HostSettings.model_validate(spec.host), folder)
    gpu = settings.gpu if isinstance(settings.gpu, int) and settings.gpu < gpus else 0
    device = EngineDevice(driver, gpu)
    try:
        engine: Any = load_engine(spec.name, settings, scheduler, device, _load_note)
        dtype = engine.footprint.detail.split()[-1]
        peer_rate = host_rate = None
        costs: LanguageCosts | GatedCosts
        if isinstance(engine, LlmEngine):
            from aquahost.engines.llm.tiers import Tier
            from aquahost.profiler.language_measure import measure_language

            parameters = sum(p.numel() for p in engine.runner.model.parameters())
            donor = (gpu + 1) % gpus if gpus > 1 else None
            costs, rates = measure_language(engine, driver, donor, scheduler, _note)
            peer_rate, host_rate = rates.get(Tier.PEER), rates.get(Tier.HOST)
        else:
            from aquahost.profiler.gated_measure import measure_gated

            assert isinstance(engine, GatedEngine)
            costs = measure_gated(engine, settings, _note)
            parameters = costs.weights_bytes // _bytes_of(dtype)
            engine.close()
        name = _gpu_name(driver, gpu, is_emulated=device.is_emulated)
    finally:
        device.close()
    return Measured(
        gpu=name,
        dtype=dtype,
        parameters=parameters,
        costs=costs,
        peer_bytes_per_s=peer_rate,
        host_bytes_per_s=host_rate,
    )


def _alone(settings: ModelSettings) -> ModelSettings:
    """The entry with all the KV memory that its GPU has, and none beside it."""
    if settings.kind is not Kind.LLM:
        return settings
    return settings.model_copy(update={"kv_bytes": None, "borrow_bytes": 0, "host_kv_bytes": 0})


def _driver(host: HostSettings, folder: Path) -> tuple[Any, int]:
    """The host's driver, and how many GPUs it has. Raises LoadError if there is none."""
    from aquahost_cuda.check import DriverError, call
    from aquahost_cuda.driver import DriverUnavailableError, EmulatedNode, load

    emulated = host.emulated.model_dump()
    emulated["gpu_bytes"] = max(emulated["gpu_bytes"], _LEAST_EMULATED_BYTES)
    node_dir = folder / "node"
    node_dir.mkdir()
    try:
        driver = load(host.driver, EmulatedNode(path=str(node_dir), **emulated), host.partition, str(folder / "parts"))
        return driver, int(call(driver.cuDeviceGetCount))
    except (DriverUnavailableError, DriverError, OSError, ValueError) as error:
        raise LoadError(f"no GPU driver: {error}") from error


def _gpu_name(driver: Any, gpu: int, *, is_emulated: bool) -> str:
    from aquahost.profiler.gpu_names import EMULATED, sheet_name
    from aquahost_cuda.device import read_identity

    if is_emulated:
        return EMULATED
    _, name, total_bytes = read_identity(driver, gpu)
    return sheet_name(name, total_bytes)


def _bytes_of(dtype: str) -> int:
    import torch

    return int(getattr(torch, dtype).itemsize)


def _load_note(progress: LoadProgress) -> None:
    _tell(Note(progress.stage, progress.done, progress.total, in_bytes=True))
