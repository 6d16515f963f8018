"""Sampling parameters within their bounds: a wrong one is refused by name before the prompt is taken."""

from __future__ import annotations

from math import isfinite

from aquahost.errors import InvalidRequestError
from aquahost.messages.prompts import Sampling

_NUMBERS = (
    ("temperature", 0.0, 1e3),
    ("top_p", 0.0, 1.0),
    ("presence_penalty", -10.0, 10.0),
    ("frequency_penalty", -10.0, 10.0),
    ("repetition_penalty", 1e-3, 1e3),
)
LARGEST_BIAS = 1e4


def check_sampling(sampling: Sampling, vocabulary_size: int) -> None:
    """Raise InvalidRequestError naming the parameter that is out of bounds."""
    for name, low, high in _NUMBERS:
        value: float = getattr(sampling, name)
        if not (isfinite(value) and low <= value <= high):
            raise InvalidRequestError(f"{name} is {value}; it must be from {low:g} to {high:g}", param=name)
    if sampling.top_k < 0:
        raise InvalidRequestError(f"top_k is {sampling.top_k}; it must be 0 (all tokens) or more", param="top_k")
    if sampling.max_tokens is not None and sampling.max_tokens < 1:
        raise InvalidRequestError(f"max_tokens is {sampling.max_tokens}; it must be at least 1", param="max_tokens")
    if sampling.logprobs is not None and not 0 <= sampling.logprobs <= vocabulary_size:
        raise InvalidRequestError(
            f"logprobs is {sampling.logprobs}; it must be from 0 to {vocabulary_size}", param="logprobs"
        )
    for token_id, bias in sampling.logit_bias.items():
        if not 0 <= token_id < vocabulary_size:
            raise InvalidRequestError(
                f"token {token_id} is outside the vocabulary of {vocabulary_size} tokens", param="logit_bias"
            )
        if not (isfinite(bias) and abs(bias) <= LARGEST_BIAS):
            raise InvalidRequestError(f"the bias of token {token_id} is {bias}", param="logit_bias")
