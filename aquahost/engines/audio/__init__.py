"""Audio models: MusicGen of transformers, and text-to-audio pipelines of diffusers."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import ModelSettings, SchedulerSettings
from aquahost.engines.checks import check_entry
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import Engine, ReportProgress
from aquahost.engines.gated_load import serve
from aquahost.engines.gated_model import GatedModel
from aquahost.engines.quiet import quiet_diffusers, quiet_transformers
from aquahost.engines.source import resolve_source
from aquahost.errors import LoadError
from aquahost.messages.wire import LoadProgress


def load_audio(
    name: str, settings: ModelSettings, scheduler: SchedulerSettings, device: EngineDevice, report: ReportProgress
) -> Engine:
    """Load the audio model `name`. Raises errors.LoadError with the reason it can't be loaded or served."""
    check_entry(settings)
    report(LoadProgress("importing", 0, 0))
    quiet_transformers()
    path = Path(resolve_source(settings))
    if (path / "model_index.json").is_file():
        model = _load_pipeline(path, settings, device, report)
    elif (path / "config.json").is_file():
        from aquahost.engines.audio.musicgen import load_musicgen

        model = load_musicgen(path, settings, device, report)
    else:
        raise LoadError(f"{path} is no audio model: it has neither a model_index.json nor a config.json")
    return serve(model, settings, scheduler, device, report)


def _load_pipeline(path: Path, settings: ModelSettings, device: EngineDevice, report: ReportProgress) -> GatedModel:
    from aquahost.engines.audio.pipeline_model import AudioPipelineModel
    from aquahost.engines.audio.text_to_audio import refuse_unless_text_to_audio
    from aquahost.engines.diffusion.load import load_pipeline
    from aquahost.engines.diffusion.pipeline_folder import read_pipeline_folder

    quiet_diffusers()
    folder = read_pipeline_folder(path, trust_remote_code=settings.trust_remote_code)
    if folder.pipeline_class is not None:
        refuse_unless_text_to_audio(folder.pipeline_class)
    loaded = load_pipeline(folder, settings, device, report)
    refuse_unless_text_to_audio(type(loaded.pipeline))
    return AudioPipelineModel(loaded, settings, device.torch_device)
