"""Which diffusers pipelines can be served as audio models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aquahost.engines.diffusion.pipeline_folder import call_parameters
from aquahost.errors import LoadError

DURATION_PARAMETERS = ("audio_end_in_s", "audio_length_in_s", "audio_duration_s", "audio_duration", "duration")
"""What pipelines call the length of the sound, in seconds."""


def duration_parameter(parameters: Mapping[str, Any]) -> str | None:
    """The name of the pipeline's duration parameter, if it has one."""
    return next((name for name in DURATION_PARAMETERS if name in parameters), None)


def refuse_unless_text_to_audio(pipeline_class: Any) -> None:
    """Raises LoadError with the reason if the pipeline does not turn text into sound through the gate."""
    parameters = call_parameters(pipeline_class)
    reason = None
    if "prompt" not in parameters:
        reason = "its call takes no prompt"
    elif duration_parameter(parameters) is None:
        reason = "its call takes no duration"
    elif "audio" in parameters:
        reason = "it needs a sound to start from"
    if reason is not None:
        raise LoadError(f"{pipeline_class.__name__} is no text-to-audio pipeline: {reason}")
    if "callback_on_step_end" not in parameters and not {"callback", "callback_steps"} <= parameters.keys():
        raise LoadError(
            f"{pipeline_class.__name__} can't share its GPU: its call has no callback at the end of a step, "
            "so it can't be paused between denoising steps"
        )
