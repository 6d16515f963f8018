"""Which steps of a language engine are measured: widths of batch and input, contexts, and both beside each other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from aquahost.profiler.step_fit import MeasuredStep
from aquahost.profiler.step_probe import StepProbe
from aquahost.profiles.step_costs import FittedSteps

DOUBT = 0.1
"""Relative error of a step's fit from which on it is measured once more."""
DECODE_STEPS = 10
REPEATS = 5
_CONTEXT_SHARES = (0.0, 0.15, 0.6)
"""Of the longest context: what decoding prompts attend to on average."""
_SHORTEST = 16
_SPREAD = 0.5
"""Lengths of prompts that decode together lie within this share of their mean, evenly: no two prompts are alike."""
_WORK_SHARE = 0.9
"""Of the KV memory, and of the context, for prompts measured together: early ones grow while others are prefilled."""
_MOST_TOKENS = 32768
"""Of prompts measured together: more of them tell nothing new of costs that grow in proportion."""
_PROMPTS_AT_ONCE = (4, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of the engine that is measured."""

    context: int
    """Tokens of the longest prompt with its reply."""
    kv_tokens: int
    """That local memory holds."""
    step_tokens: int
    max_batch: int

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt with its reply, in local memory."""
        return min(self.context, self.kv_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Steps of one kind."""

    name: str
    run: Callable[[StepProbe], list[MeasuredStep]]
    """Takes the steps with an engine that has no prompts, and leaves it so; each is the median of its repeats."""


def scenes(limits: Limits) -> list[Scene]:
    """All that is measured of an engine."""
    most = min(limits.step_tokens, limits.longest - 1)
    found = [_decodes(width, mean, limits) for width, mean in _decode_grid(limits)]
    found += [_prefill(f"prefill of {width} tokens", [width]) for width in prefill_widths(most)]
    for extra in (most // 8, most // 2):
        tokens = min((limits.longest - 2) // most * most + extra, limits.longest - 2)
        if tokens > most:
            found.append(_prefill(f"prefill of {tokens} tokens", [tokens]))
    for prompts in _PROMPTS_AT_ONCE:
        if prompts <= limits.max_batch and most // prompts:
            found.append(_prefill(f"prefill of {prompts} prompts at once", [most // prompts] * prompts))
    for width in sorted({max(1, limits.max_batch // 8), max(1, limits.max_batch // 2)}):
        mean = _means(limits, width)[-1] // 2
        for tokens in sorted({most // 16, most // 4, most - width}):
            if tokens > 0 and mean > 0:
                found.append(_mixed(width, mean, tokens, limits))
    return found


class SceneTimes:
    """The steps of scenes, measured over and over: of each step the least of the rounds' medians, since a round that
    met a busy machine says nothing of the model."""

    def __init__(self, probe: StepProbe, found: Sequence[Scene], note: Callable[[str], None]) -> None:
        """`note` is told of each scene as it begins."""
        self._probe = probe
        self._scenes = found
        self._note = note
        self._best: dict[tuple[int, int], MeasuredStep] = {}

    @property
    def steps(self) -> list[MeasuredStep]:
        """What was measured so far."""
        return list(self._best.values())

    def measure(self, numbers: Iterable[int] | None = None) -> None:
        """A round of all scenes, or of those of these numbers."""
        for number in range(len(self._scenes)) if numbers is None else numbers:
            self._note(self._scenes[number].name)
            for at, step in enumerate(self._scenes[number].run(self._probe)):
                known = self._best.get((number, at))
                if known is None or step.seconds < known.seconds:
                    self._best[number, at] = step

    def doubtful(self, costs: FittedSteps) -> list[int]:
        """Scenes with a step that took another time than these costs say, by more than `DOUBT`."""
        return sorted(
            {
                number
                for (number, _), one in self._best.items()
                if abs(costs.seconds(one.shape) / one.seconds - 1) > DOUBT
            }
        )


def decode_widths(max_batch: int, step_tokens: int) -> list[int]:
    """1, 2, 4, … and the most prompts that a step decodes."""
    return _doubling(1, min(max_batch, step_tokens))


def prefill_widths(most: int) -> list[int]:
    """4, 16, 32, … and the most tokens of one prompt in a step."""
    return sorted({min(4, most), *_doubling(min(_SHORTEST, most), most)})


def _doubling(first: int, last: int) -> list[int]:
    widths = [first]
    while widths[-1] * 2 < last:
        widths.append(widths[-1] * 2)
    return sorted({*widths, last})


def _decode_grid(limits: Limits) -> list[tuple[int, int]]:
    widths = decode_widths(limits.max_batch, limits.step_tokens)
    return [(width, mean) for width in widths for mean in _means(limits, width)]


def _means(limits: Limits, width: int) -> list[int]:
    """Mean lengths of prompts of which `width` fit at a time, each by itself within the context."""
    room = min(_WORK_SHARE * limits.kv_tokens, _MOST_TOKENS) / width - 2 * DECODE_STEPS
    most = min(_WORK_SHARE * limits.longest / (1 + _SPREAD) - 2 * DECODE_STEPS, room)
    return sorted({max(1, round(min(max(share * limits.longest, _SHORTEST), most))) for share in _CONTEXT_SHARES})


def _decodes(width: int, mean: int, limits: Limits) -> Scene:
    def run(probe: StepProbe) -> list[MeasuredStep]:
        for number in range(width):
            tokens = max(1, round(mean * (1 + _SPREAD * (2 * (number + 0.5) / width - 1))))
            probe.submit(tokens, limits.longest - tokens - 1)
        probe.run_to_decodes()
        steps = [probe.step() for _ in range(DECODE_STEPS)]
        probe.clear()
        return _median([step for step in steps if not step.shape.prefill and step.shape.decodes == width])

    return Scene(name=f"decoding, batch {width}, {mean} tokens each", run=run)


def _prefill(name: str, lengths: list[int]) -> Scene:
    return Scene(name=name, run=partial(_repeat_prefill, lengths))


def _repeat_prefill(lengths: list[int], probe: StepProbe) -> list[MeasuredStep]:
    runs = []
    for _ in range(REPEATS):
        for tokens in lengths:
            probe.submit(tokens, 1)
        runs.append(probe.run_out())
    return [step for at in range(min(map(len, runs))) for step in _median([run[at] for run in runs])]


def _mixed(width: int, mean: int, tokens: int, limits: Limits) -> Scene:
    """New prompts, one after the other, beside prompts that decode."""

    def run(probe: StepProbe) -> list[MeasuredStep]:
        for _ in range(width):
            probe.submit(mean, limits.longest - mean - 1)
        probe.run_to_decodes()
        steps = []
        for _ in range(REPEATS):
            probe.submit(tokens, 1)
            steps.append(probe.step())
        probe.clear()
        return _median([step for step in steps if step.shape.prefill == tokens and step.shape.decodes == width])

    return Scene(name=f"prefill of {tokens} tokens beside {width} decodes", run=run)


def _median(steps: Sequence[MeasuredStep]) -> list[MeasuredStep]:
    """One step for several of nearly the same shape; none for none."""
    if not steps:
        return []
    context = round(statistics.mean(step.shape.context for step in steps))
    shape = steps[0].shape._replace(context=context)
    return [MeasuredStep(shape=shape, seconds=statistics.median(step.seconds for step in steps))]
