"""What language models' steps take as their profiles say, for schedulers to begin with."""

from __future__ import annotations

from aquahost.config.settings import Kind, Settings
from aquahost.profiler.lookup import measured_profiles
from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import StepShape
from aquahost.scheduling.slicer import StepTimes

_DECODES = 8
_CONTEXT_TOKENS = 256
_PREFILL_TOKENS = 256


def known_steps(settings: Settings, gpu_name: str) -> dict[str, StepTimes]:
    """By name, of the language models that have been measured on such a GPU. Imports no torch."""
    language = {name: model for name, model in settings.models.items() if model.kind is Kind.LLM}
    found = measured_profiles(language, gpu_name, settings.scheduler)
    return {
        name: step_times(profile.costs, max_batch=settings.scheduler.max_batch)
        for name, profile in found.items()
        if isinstance(profile.costs, LanguageCosts)
    }


def step_times(costs: LanguageCosts, *, max_batch: int) -> StepTimes:
    """Times of a middling step of each kind."""
    decodes = min(_DECODES, max_batch)
    decode_s = costs.step.seconds(StepShape(decodes=decodes, context=decodes * _CONTEXT_TOKENS))
    pairs = _PREFILL_TOKENS * (_PREFILL_TOKENS + 1) / 2
    prefill_s = costs.step.seconds(StepShape(decodes=0, prefill=_PREFILL_TOKENS, pairs=pairs))
    return StepTimes(
        decode_step_s=decode_s, decode_token_s=decode_s / decodes, prefill_token_s=prefill_s / _PREFILL_TOKENS
    )
