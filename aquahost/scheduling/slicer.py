"""How long a slice must be, from what steps and paging were measured to cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aquahost.scheduling.plan import StepPlan
from aquahost.scheduling.prompt import ScheduledPrompt
from aquahost.scheduling.room import Costs
from aquahost.scheduling.smoothing import smooth

LEAST_SHARE = 0.1
"""Of a step's time that computing is taken to be, whatever the links are said to take."""
LEAST_PREFILL_TOKENS = 64
LONGEST_S = 30.0


class StepTimes(NamedTuple):
    """What steps take as far as it is known before any was seen; 0 where it is not."""

    decode_step_s: float = 0.0
    """Of a step that decodes a few prompts."""
    decode_token_s: float = 0.0
    """The same for each of its tokens."""
    prefill_token_s: float = 0.0


UNKNOWN = StepTimes()


class Slicer:
    """Measures steps, and picks the shortest slice whose paging stays within a share of the device's time."""

    def __init__(self, paging_budget: float, known: StepTimes = UNKNOWN) -> None:
        """`known`: what to go by until steps are measured, which then make it less and less important."""
        self._budget = paging_budget
        self._decode_step_s, self._decode_token_s, self._prefill_token_s = known

    def note_step(self, plan: StepPlan, took_s: float, costs: Costs) -> None:
        """A step was computed in so many seconds, what it read in place included: that is not what a token costs."""
        took_s = max(took_s - _read_s(plan, costs), LEAST_SHARE * took_s)
        prefilled = sum(chunk.count for chunk in plan.chunks)
        decoded = len(plan.decodes)
        if prefilled:
            left_s = took_s - decoded * self._decode_token_s
            each_s = left_s / prefilled if left_s > 0 else took_s / (prefilled + decoded)
            self._prefill_token_s = smooth(self._prefill_token_s, each_s)
        elif decoded:
            self.note_decodes(decoded, took_s)

    def note_decodes(self, decoded: int, took_s: float) -> None:
        """A step that computed one token of so many prompts took so long, reads in place left out."""
        self._decode_step_s = smooth(self._decode_step_s, took_s)
        self._decode_token_s = smooth(self._decode_token_s, took_s / decoded)

    @property
    def token_s(self) -> float:
        """Device time for one token of a decoding step; while none was seen, of a prefill, where a token costs less."""
        return self._decode_token_s or self._prefill_token_s

    @property
    def short_prefill(self) -> int:
        """Tokens of prefill that take as long as a decoding step: a step that has no more is about doubled by them."""
        times = self._decode_step_s / self._prefill_token_s if self._prefill_token_s else 0.0
        return max(LEAST_PREFILL_TOKENS, int(times))

    def slice_s(self, running: Sequence[ScheduledPrompt], costs: Costs, remote: int) -> float:
        """How long prompts are to run before they give way to others.

        In a slice every running prompt is exchanged once: out goes what is new in its local blocks, in comes another
        prompt's. With nowhere to page to (`remote` blocks), what must be prefilled again counts instead.
        """
        exchange_s = 0.0
        for prompt in running:
            block_s = costs.host_block_s if prompt.hosted or costs.peer_block_s is None else costs.peer_block_s
            if remote < prompt.local or (block_s is None and not remote):
                exchange_s += prompt.tokens * self._prefill_token_s
            else:
                exchange_s += 2 * costs.transfer_s + 2 * prompt.local * (block_s or 0.0)
        return min(LONGEST_S, exchange_s / self._budget)


def _read_s(plan: StepPlan, costs: Costs) -> float:
    """Time that reading remote blocks in place takes a step."""
    peer = sum(prompt.blocks - prompt.local - prompt.hosted for prompt in plan.decodes)
    hosted = sum(prompt.hosted for prompt in plan.decodes)
    return peer * (costs.peer_block_s or 0.0) + hosted * (costs.host_block_s or 0.0)
