"""From a pipeline's per-step callback to the gate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aquahost.engines.gate import Arrive
from aquahost.errors import InvalidRequestError


class StepCallback:
    """Counts a pipeline's steps and arrives at the gate after each.

    Pipelines in stages (a prior, then a decoder) count each stage from 0; here the stages add up.
    """

    def __init__(self, arrive: Arrive) -> None:
        self._arrive = arrive
        self._done = 0
        self._before_stage = 0

    @property
    def done(self) -> int:
        """Steps done in all stages."""
        return self._done

    def on_step_end(self, pipeline: Any, index: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """The signature of `callback_on_step_end`."""
        steps = getattr(pipeline, "num_timesteps", None)
        self._advance(index, steps if isinstance(steps, int) else _timesteps(pipeline))
        return tensors

    def legacy(self, pipeline: Any) -> Any:
        """A callback of the older kind (step, timestep, latents) for one call of `pipeline`."""

        def on_step(index: int, timestep: Any, latents: Any) -> None:
            # Called once for every `order` evaluations of the model.
            order = getattr(pipeline.scheduler, "order", 1)
            self._advance(index, -(-_timesteps(pipeline) // order))

        return on_step

    def _advance(self, index: int, steps: int) -> None:
        if index == 0:
            self._before_stage = self._done
        self._done = self._before_stage + index + 1
        self._arrive(self._done, max(self._done, self._before_stage + steps))


def _timesteps(pipeline: Any) -> int:
    timesteps = getattr(getattr(pipeline, "scheduler", None), "timesteps", None)
    return len(timesteps) if timesteps is not None else 0


@contextmanager
def pipeline_refusals(callback: StepCallback, fields: Mapping[str, str]) -> Iterator[None]:
    """A ValueError before the first step is the pipeline's own check of what was asked: the client's mistake.

    It becomes an InvalidRequestError for the field behind the first of the call's parameters that it names; `fields`
    holds these. Where it names none it is the text's.
    """
    try:
        yield
    except ValueError as error:
        if callback.done:
            raise
        named = [word for word in re.findall(r"\w+", str(error)) if word in fields]
        field = fields[named[0] if named else "prompt"]
        raise InvalidRequestError(f"The model refuses this request: {error}", param=field) from error
