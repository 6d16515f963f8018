"""What the API streams: server-sent events, taken apart and typed. Fields that nobody here reads are ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Delta(msgspec.Struct, frozen=True):
    """What a chat reply has grown by."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One of a prompt's replies; `delta` in chats, `text` in completions."""

    delta: Delta = Delta()
    text: str | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """Tokens that a prompt has taken."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class TextChunk(msgspec.Struct, frozen=True):
    """An event of a text reply."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None
    """OpenAI's error object, in the place of all else."""


class MediaEvent(msgspec.Struct, frozen=True):
    """An event of an image or a sound in the making."""

    type: str = ""
    step: int = 0
    steps: int = 0
    b64_json: bytes = b""
    """File of an image."""
    audio: bytes = b""
    """Part of the file of a sound."""
    error: Any = None
    """OpenAI's error object, in the place of all else."""


def sse_data(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event, as soon as it is complete; one that is cut off is dropped."""
    return (data for _, data in sse_events(chunks))


def sse_events(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The name (empty if it has none) and the data of each server-sent event that has data, likewise."""
    name, data = b"", list[bytes]()
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"event:"):
            name = line[6:].removeprefix(b" ")
        elif not line:
            if data:
                yield name, b"\n".join(data)
            name, data = b"", []


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Lines that end in a line feed; unlike str.splitlines, nothing else ends one (JSON may hold U+2028 as it is)."""
    parts: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts)
            parts = [other]
