"""How much text one token can stand for, so that a text that is surely too long need not be tokenised."""

from __future__ import annotations

import json
from typing import Any

from aquahost.engines.llm.detokenizer import byte_characters

_LONGEST_COMPOSITION = 4
"""Most characters that Unicode's composition (NFC) makes one of."""


def longest_token_text(tokenizer: Any) -> int | None:
    """Characters of the longest text that becomes one token; None where there is no such bound.

    Known for byte-level BPE alone, where every character becomes at least a byte and every byte lies in a token.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    parts: dict[str, Any] = json.loads(backend.to_str())
    vocabulary: dict[str, int] = backend.get_vocab(with_added_tokens=False)
    whole = vocabulary.keys() >= set(byte_characters().values())  # else unknown bytes vanish
    if parts["model"]["type"] != "BPE" or not whole or not _keeps_all(parts["pre_tokenizer"]):
        return None
    added = parts["added_tokens"]
    if any(token["lstrip"] or token["rstrip"] for token in added):  # take in any number of spaces
        return None
    normalizer = (parts["normalizer"] or {}).get("type")
    if normalizer not in (None, "NFC"):
        return None
    longest = max(max(map(len, vocabulary)), max((len(token["content"]) for token in added), default=0))
    return longest * (_LONGEST_COMPOSITION if normalizer else 1)


def _keeps_all(pre_tokenizer: dict[str, Any] | None) -> bool:
    """Whether it turns text into bytes and drops nothing of it."""
    steps: list[dict[str, Any]] = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    kept = all(
        step.get("type") in ("ByteLevel", "Digits") or (step.get("type") == "Split" and step["behavior"] != "Removed")
        for step in steps
    )
    return kept and any(step.get("type") == "ByteLevel" for step in steps)
