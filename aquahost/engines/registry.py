"""From a model's kind to its engine; the heavy imports of one kind never load for another."""

from __future__ import annotations

from aquahost.config.settings import Kind, ModelSettings, SchedulerSettings
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import Engine, ReportProgress
from aquahost.errors import LoadError
from aquahost.scheduling.slicer import StepTimes
from aquahost_cuda.check import DriverError


def load_engine(
    name: str,
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    device: EngineDevice,
    report: ReportProgress,
    known: StepTimes | None = None,
) -> Engine:
    """Load the model of this entry onto `device`; `known`: what a language model's steps take, as a profile says.

    Raises LoadError with the reason if it can't be served.
    """
    try:
        return _load(name, settings, scheduler, device, report, known)
    except DriverError as error:
        raise LoadError(f"GPU {device.gpu_index} failed during the load: {error}") from error


def _load(
    name: str,
    settings: ModelSettings,
    scheduler: SchedulerSettings,
    device: EngineDevice,
    report: ReportProgress,
    known: StepTimes | None,
) -> Engine:
    match settings.kind:
        case Kind.LLM:
            from aquahost.engines.llm.load import load_llm

            return load_llm(name, settings, scheduler, device, report, known)
        case Kind.IMAGE:
            from aquahost.engines.diffusion import load_image

            return load_image(name, settings, scheduler, device, report)
        case Kind.AUDIO:
            from aquahost.engines.audio import load_audio

            return load_audio(name, settings, scheduler, device, report)
        case Kind.TOY:
            from aquahost.engines.toy import load_toy

            return load_toy(name, settings, scheduler, device, report)
