"""A diffusers pipeline on a GPU: what image and audio models share."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

import torch

from aquahost.config.settings import ModelSettings
from aquahost.engines.checks import check_text
from aquahost.engines.diffusion.load import LoadedPipeline
from aquahost.engines.diffusion.own_pipeline import count_steps, own_pipeline
from aquahost.engines.diffusion.pipeline_folder import call_parameters
from aquahost.engines.diffusion.placed_weights import weights_as_placed
from aquahost.engines.diffusion.step_callback import StepCallback, pipeline_refusals
from aquahost.engines.gate import Arrive
from aquahost.engines.gated_model import TRIAL_GUIDANCE, TRIAL_STEPS, TRIAL_TEXT
from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import AudioRequest, ImageRequest
from aquahost.messages.wire import Footprint
from aquahost.units import KIB

SHARED_FIELDS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "true_cfg_scale": "guidance",
    "negative_prompt": "negative_prompt",
}
"""The request's field behind each parameter that pipelines of both kinds have."""
MAX_TEXT_BYTES = 16 * KIB
"""No text makes more tokens than it has bytes. Most pipelines read far less and drop the rest; a few read all."""
_CALLBACKS = ("callback_on_step_end", "prior_callback_on_step_end")


class HostedPipeline:
    """Knows what the pipeline's call takes, and calls it for one prompt at a time over weights that all share.

    `fields` gives the request's field behind each of the pipeline's parameters; it must name "prompt".
    """

    def __init__(self, loaded: LoadedPipeline, device: torch.device, fields: Mapping[str, str]) -> None:
        self.device = device
        self.template = loaded.pipeline
        self.parameters: Mapping[str, Parameter] = call_parameters(type(loaded.pipeline))
        self._fields = fields
        self._name = type(loaded.pipeline).__name__
        dtype = str(loaded.dtype).removeprefix("torch.")
        self.footprint = Footprint(weights_bytes=loaded.weights_bytes, detail=f"{self._name} {dtype}")

    def texts(self, request: ImageRequest | AudioRequest) -> dict[str, Any]:
        """The call's arguments for the texts of a request. Raises InvalidRequestError naming the field."""
        text = check_text(request.text, param=self._fields["prompt"], max_bytes=MAX_TEXT_BYTES)
        negative = request.negative_text
        if negative is not None:
            check_text(negative, param=self._fields["negative_prompt"], max_bytes=MAX_TEXT_BYTES)
        return {"prompt": text} | self.option("negative_prompt", negative, asked=negative is not None)

    def option(self, parameter: str, value: Any, *, asked: bool) -> dict[str, Any]:
        """The call's argument for `value`; none if that is None, or a default of the entry that it does not know.

        Raises InvalidRequestError naming the field if the client asked for what the pipeline does not know.
        """
        if asked and parameter not in self.parameters:
            field = self._fields[parameter]
            raise InvalidRequestError(f"{self._name} has no {field}; leave it out", param=field)
        return {parameter: value} if value is not None and parameter in self.parameters else {}

    def trial_options(self, settings: ModelSettings, *, guidance_parameter: str) -> dict[str, Any]:
        """Fields of a request that takes few steps, and all the memory for its size that a client could ask for."""
        fields: dict[str, Any] = {"text": TRIAL_TEXT, "seed": 0}
        if "num_inference_steps" in self.parameters:
            fields["steps"] = min(TRIAL_STEPS, settings.max_steps)
        if "negative_prompt" in self.parameters:
            fields["negative_text"] = TRIAL_TEXT
        if guidance_parameter in self.parameters:
            fields["guidance"] = TRIAL_GUIDANCE
        return fields

    def count_steps(self, steps: int | None) -> int | None:
        """Steps that a call will report if asked for `steps`, or by default; None where that can't be told."""
        parameter = self.parameters.get("num_inference_steps")
        asked = steps if steps is not None else parameter.default if parameter is not None else None
        if not isinstance(asked, int):
            return None
        count = count_steps(self.template, asked)
        return asked if self._has_legacy_callback and count is not None else count

    def call(self, arguments: Mapping[str, Any], *, seed: int, arrive: Arrive) -> Any:
        """What the pipeline returns. Raises InvalidRequestError naming the field if it refuses the arguments."""
        pipeline = own_pipeline(self.template)
        callback = StepCallback(arrive)
        more: dict[str, Any] = {name: callback.on_step_end for name in _CALLBACKS if name in self.parameters}
        if self._has_legacy_callback:
            more |= {"callback": callback.legacy(pipeline), "callback_steps": 1}
        if "generator" in self.parameters:
            more["generator"] = torch.Generator(self.device).manual_seed(seed)
        with pipeline_refusals(callback, self._fields), weights_as_placed(self.template):
            return pipeline(**arguments, **more)

    @property
    def _has_legacy_callback(self) -> bool:
        return "callback_on_step_end" not in self.parameters
