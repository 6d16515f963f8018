"""One live prompt inside the engine: its tokens, its place, its text so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.engines.llm.detokenizer import Detokenizer
from aquahost.engines.llm.residence import Residence
from aquahost.engines.llm.sampler import SamplerState
from aquahost.engines.llm.stopping import StopStrings
from aquahost.messages.prompts import FinishReason
from aquahost.scheduling.prompt import ScheduledPrompt


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """What the engine keeps of a prompt from `submit` to its end."""

    scheduled: ScheduledPrompt
    token_ids: list[int]
    """Input, then output."""
    input_tokens: int
    end_ids: frozenset[int]
    """Tokens that end the reply."""
    sampler: SamplerState
    detokenizer: Detokenizer
    stops: StopStrings
    echo: str = ""
    """Text that goes before the reply."""
    residence: Residence = field(default_factory=Residence)
    """The blocks it holds."""
    slot: int = -1
    """Row of the block tables; -1 while it takes no part in steps."""
    is_running: bool = False
    """Whether it has produced a token since it was last given a slot."""

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.scheduled.id

    @property
    def output_tokens(self) -> int:
        """Tokens produced, the end token included."""
        return len(self.token_ids) - self.input_tokens

    def replay(self, token_ids: list[int]) -> None:
        """Stand where the reply stood after these tokens, which were shown already."""
        for token_id in token_ids:
            self.accept(token_id)
            self.sampler.replay(token_id)

    def accept(self, token_id: int) -> tuple[str, FinishReason | None]:
        """Add a token; returns the text that may be shown and why the reply ended, if it did."""
        self.token_ids.append(token_id)
        if token_id in self.end_ids:
            return self._end_text()[0], FinishReason.STOP
        text, stopped = self.stops.push(self.detokenizer.push(token_id))
        if stopped:
            return text, FinishReason.STOP
        if len(self.token_ids) >= self.scheduled.max_tokens:
            rest, stopped = self._end_text()
            return text + rest, FinishReason.STOP if stopped else FinishReason.LENGTH
        return text, None

    def _end_text(self) -> tuple[str, bool]:
        """The text still held back by the detokeniser and the stop strings."""
        text, stopped = self.stops.push(self.detokenizer.flush())
        return text if stopped else text + self.stops.flush(), stopped
