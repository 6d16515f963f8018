"""The bound on a token's text: right where it is given, absent where there is none."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers

from aquahost.engines.llm.token_length import longest_token_text
from tiny_llms import byte_level_tokenizer


def changed(change: Callable[[Any], object]) -> Any:
    tokenizer = deepcopy(byte_level_tokenizer())
    change(tokenizer.backend_tokenizer)
    return tokenizer


def set_normalizer(backend: Any, normalizer: Any) -> None:
    backend.normalizer = normalizer


def set_pre_tokenizer(backend: Any, pre_tokenizer: Any) -> None:
    backend.pre_tokenizer = pre_tokenizer


BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)
COMPOSING = changed(lambda backend: set_normalizer(backend, normalizers.NFC()))
LONG = changed(lambda backend: backend.add_special_tokens([AddedToken("<|" + "x" * 40 + "|>")]))
pieces = st.sampled_from(["<|assistant|>", "the ", "ᾂ", "a\u0323\u0302", "ộ", "🎉", "<|" + "x" * 40 + "|>", "quick"])


@settings(max_examples=100, deadline=None)
@given(text=st.lists(pieces | st.text(max_size=4), max_size=20).map("".join))
@pytest.mark.parametrize("tokenizer", [byte_level_tokenizer(), COMPOSING, LONG], ids=["plain", "nfc", "long"])
def test_no_text_has_fewer_tokens_than_the_bound_says(tokenizer: Any, text: str) -> None:
    longest = longest_token_text(tokenizer)
    assert longest is not None
    assert len(tokenizer.encode(text, add_special_tokens=False)) * longest >= len(text)


@pytest.mark.parametrize("change", [
    lambda backend: set_normalizer(backend, normalizers.Strip()),
    lambda backend: set_pre_tokenizer(backend, pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), BYTES])),
    lambda backend: set_pre_tokenizer(
        backend, pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), BYTES])
    ),
    lambda backend: backend.add_special_tokens([AddedToken("<mask>", lstrip=True)]),
], ids=["strip", "whitespace", "removed", "lstrip"])  # fmt: skip
def test_where_text_may_vanish_there_is_no_bound(change: Callable[[Any], object]) -> None:
    assert longest_token_text(changed(change)) is None


def test_other_kinds_of_tokenizers_have_no_bound() -> None:
    assert longest_token_text(object()) is None
