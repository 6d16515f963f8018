"""What POST /v1/chat/completions and POST /v1/completions take: OpenAI's fields, and ours that no other API has."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aquahost.api.fields import (
    MAX_PROMPTS,
    ApiModel,
    Choices,
    Ignored,
    LogitBias,
    Penalty,
    Priority,
    PromptBody,
    RepetitionPenalty,
    Seed,
    StopText,
    Temperature,
    TokenCount,
    TokenId,
    TopK,
    TopP,
    misfit,
    refused,
    seed_of,
)
from aquahost.messages.prompts import Sampling

MAX_MESSAGES = 10_000
"""Most messages of a conversation."""
MAX_PARTS = 10_000
"""Most content parts of all messages together."""
_TOOLS = "tools are not supported"
_AUDIO = "audio is made by POST /v1/audio/speech"


def _text_or_list(value: Any) -> str:
    return "~list" if isinstance(value, list) else "~text"


class TextPart(ApiModel):
    """A piece of a message's content; only text is supported."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Ignored = None


Content = Annotated[
    Annotated[str, Tag("~text")]
    | Annotated[list[TextPart], Field(min_length=1, max_length=MAX_PARTS, fail_fast=True), Tag("~list")],
    Discriminator(_text_or_list),
]


class ChatMessage(ApiModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content
    """Text, or a list of text parts."""
    name: Ignored = None
    tool_call_id: Ignored = None
    refusal: Ignored = None
    annotations: Ignored = None
    reasoning_content: Ignored = None
    tool_calls: Annotated[Any, refused(_TOOLS, [])] = None
    function_call: Annotated[Any, refused(_TOOLS)] = None
    audio: Annotated[Any, refused(_AUDIO)] = None

    def rendered(self) -> dict[str, Any]:
        """The message as chat templates know it: "developer" is OpenAI's newer name for "system"."""
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(ApiModel):
    """What a stream contains beside the tokens."""

    include_usage: bool | None = None
    """Send `usage` in an event of its own at the end."""
    include_obfuscation: Ignored = None


Stop = Annotated[
    Annotated[StopText, Tag("~text")] | Annotated[list[StopText], Field(max_length=16, fail_fast=True), Tag("~list")],
    Discriminator(_text_or_list),
]


class _TextBody(PromptBody):
    """Fields that both kinds of text request share."""

    max_tokens: TokenCount | None = None
    """Most tokens to produce. Without it: as many as the context holds (completions: 16)."""
    temperature: Temperature | None = None
    """0 always takes the likeliest token. Default 1."""
    top_p: TopP | None = None
    n: Choices | None = None
    """Replies to each prompt."""
    stop: Stop | None = None
    """Up to 16 texts that end a reply; themselves not part of it."""
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    """Added to the logits of tokens, by token id."""
    seed: Seed | None = None
    """Makes sampling repeatable; reply number i draws with seed + i."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Ignored = None
    top_k: TopK | None = None
    """Extension. Sample from the k likeliest tokens; 0 is all."""
    repetition_penalty: RepetitionPenalty | None = None
    """Extension. As in transformers; 1 is none."""
    ignore_eos: bool | None = None
    """Extension. Go on to max_tokens; for benchmarks."""
    priority: Priority | None = None
    """Extension. Smaller goes first where the model's policy is "priority". Default 0."""

    @field_validator("logit_bias")
    @classmethod
    def _keys_are_token_ids(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for key in value or ():
            if not (key.isascii() and key.isdecimal() and len(key) <= 9):
                raise PydanticCustomError("token_id", "keys must be token ids, like {example}", {"example": '"50256"'})
        return value

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> _TextBody:
        if self.stream_options is not None and not self.stream:
            raise misfit("stream_options", "only allowed with stream: true")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with `usage`."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self, *, index: int, max_tokens: int | None, logprobs: int | None) -> Sampling:
        """How reply number `index` of the request is sampled."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            seed=seed_of(self.seed, index),
            stop=stop,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            logit_bias={int(token): bias for token, bias in (self.logit_bias or {}).items()},
            ignore_eos=bool(self.ignore_eos),
            logprobs=logprobs,
        )


class ChatBody(_TextBody):
    """Body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)]
    max_completion_tokens: TokenCount | None = None
    """OpenAI's newer name of max_tokens; wins where both are given."""
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    metadata: Ignored = None
    moderation: Annotated[Any, refused("moderation is not supported")] = None
    parallel_tool_calls: Ignored = None
    prediction: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    reasoning_effort: Ignored = None
    safety_identifier: Ignored = None
    service_tier: Ignored = None
    store: Ignored = None
    verbosity: Ignored = None
    audio: Annotated[Any, refused(_AUDIO)] = None
    modalities: Annotated[Any, refused("only text comes out of this route", ["text"])] = None
    response_format: Annotated[Any, refused("only free text is supported", {"type": "text"})] = None
    tools: Annotated[Any, refused(_TOOLS, [])] = None
    tool_choice: Annotated[Any, refused(_TOOLS, "none", "auto")] = None
    functions: Annotated[Any, refused(_TOOLS, [])] = None
    function_call: Annotated[Any, refused(_TOOLS, "none", "auto")] = None
    web_search_options: Annotated[Any, refused("web search is not supported")] = None

    @field_validator("messages", mode="before")
    @classmethod
    def _not_too_many_parts(cls, value: Any) -> Any:
        """Count before validating: a body of 8 MiB holds 300,000 parts, which would take a second."""
        messages = value if isinstance(value, list) else []
        contents = [message.get("content") for message in messages if isinstance(message, dict)]
        if len(messages) > MAX_MESSAGES:
            raise PydanticCustomError("too_long", "at most {most} messages are allowed", {"most": MAX_MESSAGES})
        if sum(len(content) for content in contents if isinstance(content, list)) > MAX_PARTS:
            raise PydanticCustomError("too_long", "at most {most} parts are allowed", {"most": MAX_PARTS})
        return value

    @model_validator(mode="after")
    def _top_logprobs_need_logprobs(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise misfit("top_logprobs", "only allowed with logprobs: true")
        return self


def _prompt_tag(value: Any) -> str:
    if not isinstance(value, list):
        return "~text"
    first = value[0] if value else ""
    if isinstance(first, list):
        return "~token_lists"
    return "~texts" if isinstance(first, str) else "~tokens"


_TokenIds = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
PromptInput = Annotated[
    Annotated[str, Field(min_length=1), Tag("~text")]
    | Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True),
        Tag("~texts"),
    ]
    | Annotated[_TokenIds, Tag("~tokens")]
    | Annotated[list[_TokenIds], Field(min_length=1, max_length=MAX_PROMPTS, fail_fast=True), Tag("~token_lists")],
    Discriminator(_prompt_tag),
]


class CompletionBody(_TextBody):
    """Body of POST /v1/completions."""

    prompt: PromptInput
    """Text, token ids, or a list of either."""
    echo: bool | None = None
    """Begin each reply with its prompt."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[Any, refused("picking the best of several replies is not supported", 1)] = None
    suffix: Annotated[Any, refused("inserting before a suffix is not supported", "")] = None

    @model_validator(mode="after")
    def _not_too_many(self) -> CompletionBody:
        if len(self.prompts()) * (self.n or 1) > MAX_PROMPTS:
            raise misfit("n", f"times the number of prompts it is above {MAX_PROMPTS}")
        return self

    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, each a text or a list of token ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt
