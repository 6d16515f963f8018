"""Which pipelines can be served as image models."""

from __future__ import annotations

from typing import Any

from aquahost.engines.diffusion.pipeline_folder import call_parameters
from aquahost.errors import LoadError

_OTHER_TASKS = {
    "num_frames": "it makes videos",
    "video": "it edits videos",
    "strength": "it edits images",
    "mask_image": "it edits images",
    "control_image": "it needs a control image",
    "audio_end_in_s": "it makes sounds",
    "audio_length_in_s": "it makes sounds",
    "audio_duration": "it makes sounds",
    "audio_duration_s": "it makes sounds",
    "duration": "it makes sounds",
}
"""Parameters that give away what else a pipeline is for."""


def refuse_unless_text_to_image(pipeline_class: Any) -> None:
    """Raises LoadError with the reason if the pipeline does not turn text into an image through the gate."""
    parameters = call_parameters(pipeline_class)
    reason = _other_task(pipeline_class, set(parameters))
    if reason is not None:
        raise LoadError(f"{pipeline_class.__name__} is no text-to-image pipeline: {reason}")
    if "callback_on_step_end" not in parameters:
        raise LoadError(
            f"{pipeline_class.__name__} can't share its GPU: its call has no callback_on_step_end, "
            "so it can't be paused between denoising steps"
        )


def _other_task(pipeline_class: Any, parameters: set[str]) -> str | None:
    if "prompt" not in parameters:
        return "its call takes no prompt"
    if "image" in parameters and not _takes_image_as_option(pipeline_class):
        return "it needs an image to start from"
    for name, reason in _OTHER_TASKS.items():
        if name in parameters:
            return reason
    if "height" not in parameters:
        return "its call takes no image size"
    return None


def _takes_image_as_option(pipeline_class: Any) -> bool:
    """Whether the image is a reference that may be missing, as with Flux Kontext and Flux 2."""
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING

    name = pipeline_class.__name__
    return "ControlNet" not in name and any(c.__name__ == name for c in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values())
