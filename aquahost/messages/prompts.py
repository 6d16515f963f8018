"""Prompts and what comes back for them: the vocabulary shared by API, daemon, worker and engines."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a language prompt's next token is chosen, and when it ends. Defaults as in OpenAI's API."""

    max_tokens: int | None = None
    """Most tokens to produce; None means as many as the context holds."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    seed: int | None = None
    """Seed of the prompt's own random stream; None draws one."""
    stop: tuple[str, ...] = ()
    """Text that ends the reply; itself not part of it."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    """As in transformers: logits of seen tokens are divided (if positive) or multiplied (if negative) by it."""
    logit_bias: dict[int, float] = {}
    ignore_eos: bool = False
    """Go on past the end-of-sequence token up to max_tokens; for benchmarks."""
    logprobs: int | None = None
    """None reports no log-probabilities; k >= 0 reports the chosen token's and the k likeliest tokens'."""


class TextRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """For a language model: exactly one of `messages`, `text` and `token_ids` is given."""

    sampling: Sampling = Sampling()
    messages: list[dict[str, Any]] | None = None
    """A conversation, rendered with the model's chat template; each has "role" and "content" (a string)."""
    text: str | None = None
    """A raw prompt (completions)."""
    token_ids: list[int] | None = None
    """A prompt already tokenised (completions, benchmarks)."""
    echo: bool = False
    """Completions: the reply starts with the prompt's text."""


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """One image. None leaves the choice to the model's entry or the pipeline's own default."""

    text: str
    negative_text: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    format: str = "png"
    """"png", "jpeg" or "webp"."""


class AudioRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="audio"):
    """One sound. None leaves the choice to the model's entry or the pipeline's own default."""

    text: str
    negative_text: str | None = None
    duration_s: float | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None
    format: str = "wav"
    """"wav", "flac", "mp3", "opus" or "pcm" (16 bit little endian)."""


Request = TextRequest | ImageRequest | AudioRequest


class Prompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request on its way: what is asked, of whom, by whom."""

    id: str
    model: str
    tenant: str
    request: Request
    created_s: float
    """`Clock.now_s()` of the daemon when it was accepted; the same clock in every process of the machine."""
    weight: float = 1.0
    """The tenant's share, in proportion to others' weights."""
    priority: int = 0
    """Under the policy "priority", smaller goes first."""
    produced_ids: list[int] = []
    """Tokens that an earlier worker produced and the client has: the reply goes on after them, as if that worker had
    never ended. Empty for images and sounds, which begin again."""


class PromptState(StrEnum):
    """Where a live prompt stands, as shown in `aquahost queue`."""

    WAITING = "waiting"
    """Not yet begun."""
    PREFILLING = "prefilling"
    """A language prompt whose input is being read in chunks."""
    RUNNING = "running"
    """Producing tokens or denoising."""
    SUSPENDED = "suspended"
    """Begun, then preempted; goes on later."""


class FinishReason(StrEnum):
    """Why a prompt ended."""

    STOP = "stop"
    """The model ended by itself, or a stop string was met, or an image or a sound is complete."""
    LENGTH = "length"
    """max_tokens or the context's end was reached."""
    CANCELLED = "cancelled"
    ERROR = "error"


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token with its log-probability."""

    token_id: int
    text: str
    logprob: float


class TokenChoice(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token's log-probability and those of the likeliest tokens, best first."""

    chosen: TokenLogprob
    top: list[TokenLogprob]


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The engine has taken the prompt: it is valid and fits. Always a prompt's first output, unless it fails."""

    prompt_id: str
    input_tokens: int = 0
    steps: int | None = None
    """Steps the prompt will take where that is known (denoising steps, audio tokens)."""


class StateChanged(msgspec.Struct, frozen=True, tag="state"):
    """The prompt moved to another state."""

    prompt_id: str
    state: PromptState


class Tokens(msgspec.Struct, frozen=True, tag="tokens"):
    """Newly produced tokens of a language prompt."""

    prompt_id: str
    text: str
    """Newly complete text: never half a character, never part of a stop string; may be empty."""
    token_ids: list[int]
    logprobs: list[TokenChoice] | None = None
    """One for each of `token_ids`, if asked for."""


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something that whoever waits for the prompt may want to know; no part of the reply, and a comment in streams."""

    prompt_id: str
    text: str
    """One line."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """An image or audio prompt has finished `step` of `steps`."""

    prompt_id: str
    step: int
    steps: int


class Artifact(msgspec.Struct, frozen=True, tag="artifact"):
    """A finished image or sound."""

    prompt_id: str
    media_type: str
    """MIME type of `data`."""
    data: bytes


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """A prompt's last output; its memory is free."""

    prompt_id: str
    reason: FinishReason
    input_tokens: int = 0
    output_tokens: int = 0
    service_s: float = 0.0
    """Device time it had from the worker that says so; 0 where that is not known."""
    error: ErrorDetail | None = None
    """Set exactly when `reason` is ERROR."""


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a prompt failed, in the terms of `errors.RequestError`."""

    message: str
    status: int = 500
    type: str = "server_error"
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None


Output = Accepted | StateChanged | Tokens | Notice | Progress | Artifact | Finished
