"""What POST /v1/images/generations and POST /v1/audio/speech take: OpenAI's fields, and ours that no other API has."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from aquahost.api.fields import Guidance, Ignored, Priority, PromptBody, Seed, Steps, refused

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_Description = Annotated[str, Field(min_length=1, max_length=32_000)]


class _MediaBody(PromptBody):
    """Fields that both kinds of media request share; without them the model's own defaults hold."""

    steps: Steps | None = None
    """Extension. Denoising steps."""
    guidance: Guidance | None = None
    """Extension. How closely to follow the prompt."""
    negative_prompt: Annotated[str, Field(max_length=32_000)] | None = None
    """Extension. What to avoid."""
    seed: Seed | None = None
    """Extension. Makes the result repeatable; image number i draws with seed + i."""
    priority: Priority | None = None
    """Extension. Smaller goes first where the model's policy is "priority". Default 0."""


class ImageBody(_MediaBody):
    """Body of POST /v1/images/generations."""

    prompt: _Description
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: str | None = None
    """'WIDTHxHEIGHT' in pixels, or 'auto'."""
    response_format: Literal["url", "b64_json"] | None = None
    """'url' serves the image for an hour. Default 'b64_json'."""
    output_format: Literal["png", "jpeg", "webp"] | None = None
    """Default 'png'."""
    stream: bool | None = None
    """Send an event after every step, then each image."""
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    """Accepted; no partial images are sent."""
    background: Annotated[Any, refused("only opaque images can be made", "auto", "opaque")] = None
    output_compression: Annotated[Any, refused("the compression level cannot be set", 100)] = None
    moderation: Ignored = None
    quality: Ignored = None
    style: Ignored = None
    safety_identifier: Ignored = None
    user: Ignored = None

    @field_validator("size")
    @classmethod
    def _size_is_readable(cls, value: str | None) -> str | None:
        if value not in (None, "auto") and not _SIZE.fullmatch(value):
            raise PydanticCustomError("size", "write WIDTHxHEIGHT, each from 1 to 99999 pixels, like 512x512, or auto")
        return value

    def size_px(self) -> tuple[int | None, int | None]:
        """Width and height, or None for the model's own."""
        match = _SIZE.fullmatch(self.size or "auto")
        return (int(match[1]), int(match[2])) if match else (None, None)


class SpeechBody(_MediaBody):
    """Body of POST /v1/audio/speech; for a music model `input` describes the sound."""

    input: _Description
    voice: Ignored = None
    response_format: Literal["wav", "flac", "mp3", "opus", "pcm"] | None = None
    """Default 'wav', which is lossless and known everywhere (OpenAI's is 'mp3')."""
    stream_format: Literal["audio", "sse"] | None = None
    """'sse' sends an event after every step, then the sound. Default 'audio', the bare file."""
    duration: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Extension. Length in seconds."""
    speed: Annotated[Any, refused("the speed cannot be changed", 1, 1.0)] = None
    instructions: Annotated[Any, refused("describe the sound in 'input' instead", "")] = None
