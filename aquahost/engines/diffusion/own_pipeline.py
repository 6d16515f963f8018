"""A pipeline of its own for every prompt, over weights that all share."""

from __future__ import annotations

import copy
import logging
from typing import Any

logger = logging.getLogger(__name__)


def own_pipeline(template: Any) -> Any:
    """A pipeline that shares `template`'s weights and nothing that a call writes to.

    A call keeps its guidance scale, number of steps and the like as attributes of the pipeline, and its position in
    the schedule in the scheduler. The shallow copy gives the first a place of their own; schedulers are copied deeply
    (their tables are small; they must be as they were when loaded, so the template itself never runs). Pipelines
    within a pipeline, as in Kandinsky and Stable Cascade, are copied the same way.
    """
    return _own(template, {})


def _own(pipeline: Any, copies: dict[int, Any]) -> Any:
    import diffusers

    if id(pipeline) in copies:
        return copies[id(pipeline)]
    own = copies[id(pipeline)] = copy.copy(pipeline)
    for name, value in vars(pipeline).items():
        if isinstance(value, diffusers.SchedulerMixin):
            if id(value) not in copies:
                copies[id(value)] = copy.deepcopy(value)
            # Past the pipeline's __setattr__, which would look for the scheduler's library again.
            own.__dict__[name] = copies[id(value)]
        elif isinstance(value, diffusers.DiffusionPipeline):
            own.__dict__[name] = _own(value, copies)
    return own


def count_steps(template: Any, steps: int) -> int | None:
    """How many steps `steps` denoising steps become with the pipeline's scheduler; None where it can't say.

    Second-order schedulers, such as Heun's, and PNDM's warm-up take more than was asked for.
    """
    scheduler = getattr(template, "scheduler", None)
    if scheduler is None:
        return None
    try:
        scheduler = copy.deepcopy(scheduler)
        scheduler.set_timesteps(steps)
        return len(scheduler.timesteps)
    except Exception as error:
        # Some want values that only the running pipeline knows, some fail on few steps, each in its own way; a model
        # may bring one of its own. The count is a courtesy: what is truly wrong, the prompt's own call will meet.
        logger.debug("%s does not count %d steps: %r", type(scheduler).__name__, steps, error)
        return None
