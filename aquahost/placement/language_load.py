"""How many prompts of a language model are there at once under its expected traffic: Little's law on its step costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from aquahost.profiles.profile import LanguageCosts
from aquahost.profiles.step_costs import StepShape

BURST_SIGMAS = 3.0
"""Room is wanted for so many standard deviations above the mean of a Poisson number of live prompts."""
_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTraffic:
    """What is asked of one replica."""

    rate_per_s: float
    input_tokens: int
    output_tokens: int
    step_tokens: int
    """Most tokens in one step."""
    max_batch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLoad:
    """What comes of it, where the model has its GPUs to itself."""

    batch: float
    """Prompts that decode at once, on average."""
    live: float
    """Prompts there at once, those being prefilled included; of a saturated model, its largest batch."""
    residence_s: float
    """A prompt's time from its first step to its last."""
    utilisation: float
    """The part of the device's time that the traffic takes at the largest batch; at 1 and above the queue grows for
    ever. At smaller batches the device is busier and tokens come faster, so whoever shares a GPU takes nothing away
    that is needed."""

    @property
    def saturated(self) -> bool:
        """Whether more is asked than the model can answer."""
        return self.utilisation >= 1

    @property
    def burst(self) -> float:
        """Live prompts to have room for: the mean and `BURST_SIGMAS` times its root, as arrivals are Poisson."""
        return self.live + BURST_SIGMAS * math.sqrt(self.live)


def language_load(costs: LanguageCosts, traffic: LanguageTraffic) -> LanguageLoad:
    """The fixed point of batch and step time.

    Prompts come at rate λ; prefilling each takes P seconds of the device, so decoding has 1 - λP of it. Of n output
    tokens, each takes a step T(b) at batch b, stretched by that: b = λ n T(b) / (1 - λP), by Little's law. T grows
    with b, more slowly the more of a step is reading weights, so the batch settles where both sides meet.
    """
    most = min(traffic.max_batch, traffic.step_tokens)
    context = traffic.input_tokens + traffic.output_tokens // 2
    prefill_s = _prefill_s(costs, traffic)
    rate, output = traffic.rate_per_s, traffic.output_tokens
    utilisation = rate * (prefill_s + output * _step_s(costs, most, context) / most)
    if not rate:
        residence_s = prefill_s + output * _step_s(costs, 1, context)
        return LanguageLoad(batch=0.0, live=0.0, residence_s=residence_s, utilisation=0.0)
    left = 1 - rate * prefill_s
    if utilisation >= 1 or left <= 0:
        residence_s = most / rate
        return LanguageLoad(batch=most, live=most, residence_s=residence_s, utilisation=max(1.0, utilisation))
    low, high = 0.0, float(most)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rate * output * _step_s(costs, middle, context) > middle * left:
            low = middle
        else:
            high = middle
    residence_s = (prefill_s + output * _step_s(costs, high, context)) / left
    return LanguageLoad(batch=high, live=rate * residence_s, residence_s=residence_s, utilisation=utilisation)


def _step_s(costs: LanguageCosts, batch: float, context: int) -> float:
    """A decode step; between whole numbers of prompts on a straight line, below one as with one."""
    low = max(1, math.floor(batch))
    at_low_s = costs.step.seconds(StepShape(decodes=low, context=low * context))
    if batch <= low:
        return at_low_s
    at_next_s = costs.step.seconds(StepShape(decodes=low + 1, context=(low + 1) * context))
    return at_low_s + (batch - low) * (at_next_s - at_low_s)


def _prefill_s(costs: LanguageCosts, traffic: LanguageTraffic) -> float:
    """One prompt's input in chunks, as steps of their own."""
    total_s = 0.0
    for begin in range(0, traffic.input_tokens, traffic.step_tokens):
        end = min(begin + traffic.step_tokens, traffic.input_tokens)
        pairs = (end * (end + 1) - begin * (begin + 1)) / 2
        total_s += costs.step.seconds(StepShape(0, 0, end - begin, pairs, begin))
    return total_s
