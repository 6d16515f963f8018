"""What prompts have come to since the daemon started, by model: how they ended, what they waited, who was refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from aquahost.daemon.histogram import Histogram
from aquahost.daemon.live_prompt import LivePrompt
from aquahost.messages.figures import (
    BETWEEN_TOKENS_BUCKETS_S,
    WAIT_BUCKETS_S,
    Ended,
    ModelPrompts,
    PromptFigures,
    Refused,
)
from aquahost.messages.prompts import FinishReason, Output, Progress, Tokens
from aquahost.messages.snapshot import PromptView


class _Counts:
    """Of one model."""

    __slots__ = ("between_tokens", "ended", "first_token", "input_tokens", "output_tokens", "whole")

    def __init__(self) -> None:
        self.ended: Counter[FinishReason] = Counter()
        self.input_tokens = 0
        self.output_tokens = 0
        self.first_token = Histogram(WAIT_BUCKETS_S)
        self.between_tokens = Histogram(BETWEEN_TOKENS_BUCKETS_S)
        self.whole = Histogram(WAIT_BUCKETS_S)


class PromptCounts:
    """Counts never fall while the daemon lives; a model that a reload removes keeps its own."""

    def __init__(self) -> None:
        self._models: dict[str, _Counts] = {}
        self._refused: Counter[tuple[str, int]] = Counter()
        self.tell_ended: Callable[[LivePrompt, FinishReason], None] | None = None
        """Told of each prompt that has ended, where someone traces them."""

    def produced(self, live: LivePrompt, output: Output, now_s: float) -> None:
        """A prompt has put out `output`, which it has taken note of."""
        if isinstance(output, Tokens):
            count = len(output.token_ids) or 1
            counts = self._of(live.model)
            counts.output_tokens += len(output.token_ids)
            if live.last_s is None:
                counts.first_token.add(now_s - live.created_s)
                count -= 1
            elif count:
                counts.between_tokens.add((now_s - live.last_s) / count, count)
            live.last_s = now_s
        elif isinstance(output, Progress) and live.last_s is None:
            self._of(live.model).first_token.add(now_s - live.created_s)
            live.last_s = now_s

    def ended(self, live: LivePrompt, prompt: PromptView, reason: FinishReason) -> None:
        """A prompt has ended, and `prompt` is the last of it."""
        counts = self._of(prompt.model)
        counts.ended[reason] += 1
        counts.input_tokens += prompt.input_tokens
        counts.whole.add(prompt.age_s)
        if self.tell_ended is not None:
            self.tell_ended(live, reason)

    def refused(self, model: str, status: int) -> None:
        """A prompt was not taken. `model`: one that is hosted, or "", since strangers may ask for any name."""
        self._refused[model, status] += 1

    def figures(self) -> PromptFigures:
        """All of it, for `/metrics`."""
        models = [
            ModelPrompts(
                model=name,
                ended=[Ended(reason, count) for reason, count in counts.ended.items()],
                input_tokens=counts.input_tokens,
                output_tokens=counts.output_tokens,
                first_token=counts.first_token.view(),
                between_tokens=counts.between_tokens.view(),
                whole=counts.whole.view(),
            )
            for name, counts in self._models.items()
        ]
        return PromptFigures(
            models=models, refused=[Refused(model, status, count) for (model, status), count in self._refused.items()]
        )

    def _of(self, model: str) -> _Counts:
        counts = self._models.get(model)
        if counts is None:
            counts = self._models[model] = _Counts()
        return counts
