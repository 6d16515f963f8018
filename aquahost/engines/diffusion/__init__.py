"""Image models: any diffusers text-to-image pipeline with a callback at the end of a step."""

from __future__ import annotations

from pathlib import Path

from aquahost.config.settings import ModelSettings, SchedulerSettings
from aquahost.engines.checks import check_entry
from aquahost.engines.device import EngineDevice
from aquahost.engines.engine import Engine, ReportProgress
from aquahost.engines.gated_load import serve
from aquahost.engines.quiet import quiet_diffusers
from aquahost.engines.source import resolve_source
from aquahost.messages.wire import LoadProgress


def load_image(
    name: str, settings: ModelSettings, scheduler: SchedulerSettings, device: EngineDevice, report: ReportProgress
) -> Engine:
    """Load the image model `name`. Raises errors.LoadError with the reason it can't be loaded or served."""
    check_entry(settings)
    report(LoadProgress("importing", 0, 0))
    from aquahost.engines.diffusion.image_model import ImageModel
    from aquahost.engines.diffusion.load import load_pipeline
    from aquahost.engines.diffusion.pipeline_folder import read_pipeline_folder
    from aquahost.engines.diffusion.text_to_image import refuse_unless_text_to_image

    quiet_diffusers()
    path = Path(resolve_source(settings))
    folder = read_pipeline_folder(path, trust_remote_code=settings.trust_remote_code)
    if folder.pipeline_class is not None:
        refuse_unless_text_to_image(folder.pipeline_class)
    loaded = load_pipeline(folder, settings, device, report)
    refuse_unless_text_to_image(type(loaded.pipeline))
    model = ImageModel(loaded, settings, device.torch_device)
    return serve(model, settings, scheduler, device, report)
