"""Prompts that were sent from the UI, and what came back."""

from __future__ import annotations

from dataclasses import dataclass, field

from aquahost.client import Media, StepDone, TextEnd, TextPiece
from aquahost.units import format_seconds

MOST_MEDIA = 4
"""Images or sounds that are kept of a conversation; the files are large."""

Reply = TextPiece | TextEnd | StepDone | Media


@dataclass(slots=True)
class Turn:
    """One prompt and its reply so far."""

    asked: str
    sent_s: float
    text: str = ""
    step: StepDone | None = None
    """The newest step of an image or a sound."""
    media: bytes | None = None
    """The file of a finished image or sound."""
    was_dropped: bool = False
    """Whether there was such a file, which is kept no longer."""
    first_s: float | None = None
    """When the first token or step came."""
    end: TextEnd | None = None
    ended_s: float | None = None
    """When nothing more was to come, for whatever reason."""
    trouble: str | None = None
    """Why it failed."""
    was_stopped: bool = False
    saved: str = ""
    """Name of the file that the media were saved in."""

    @property
    def is_running(self) -> bool:
        """Whether more is to come."""
        return self.ended_s is None

    def take(self, item: Reply, at_s: float) -> None:
        """A piece of the reply has come."""
        match item:
            case TextPiece():
                self.text += item.text
            case StepDone():
                self.step = item
            case Media():
                self.media = item.data
            case TextEnd():
                self.end = item
        if self.first_s is None and not isinstance(item, TextEnd):
            self.first_s = at_s

    def close(self, at_s: float, *, trouble: str | None = None, stopped: bool = False) -> None:
        """Nothing more comes."""
        self.ended_s, self.trouble, self.was_stopped = at_s, trouble, stopped

    def figures(self) -> str:
        """How it ended and how fast it was, in one line; empty while it runs."""
        if self.ended_s is None:
            return ""
        parts = ["stopped"] if self.was_stopped else []
        if self.end is not None:
            parts += [f"{self.end.output_tokens} tokens", *self._rate(self.end.output_tokens)]
        if self.first_s is not None:
            parts.append(f"first after {format_seconds(self.first_s - self.sent_s)}")
        if self.end is not None:
            parts += [f"{self.end.input_tokens} tokens in", f"ended: {self.end.finish_reason}"]
        if self.media is not None or self.was_dropped:
            parts.append(f"made in {format_seconds(self.ended_s - self.sent_s)}")
        return ", ".join(parts)

    def _rate(self, tokens: int) -> list[str]:
        if self.first_s is None or self.ended_s is None or tokens < 2 or self.ended_s <= self.first_s:
            return []
        return [f"{(tokens - 1) / (self.ended_s - self.first_s):.1f} tokens/s"]


@dataclass(slots=True)
class Conversation:
    """All that was asked of one model."""

    model: str
    kind: str
    turns: list[Turn] = field(default_factory=list)

    def messages(self, text: str) -> list[dict[str, str]]:
        """What a chat is sent as: the turns that have a reply, and then `text`."""
        told = []
        for turn in self.turns:
            if turn.text:
                told.append({"role": "user", "content": turn.asked})
                told.append({"role": "assistant", "content": turn.text})
        return [*told, {"role": "user", "content": text}]

    def drop_old_media(self) -> list[Turn]:
        """Keep only the last images or sounds; returns the turns whose own was dropped."""
        dropped = [turn for turn in self.turns if turn.media is not None][:-MOST_MEDIA]
        for turn in dropped:
            turn.media, turn.was_dropped = None, True
        return dropped
