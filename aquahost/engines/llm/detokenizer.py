"""Token ids to text, piece by piece, never half a character."""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Sequence
from typing import Any, Protocol


class Detokenizer(Protocol):
    """Text of one reply."""

    def push(self, token_id: int) -> str:
        """Add a token; returns the text that became complete, perhaps none."""
        ...

    def flush(self) -> str:
        """What is left at the end: an unfinished character as U+FFFD."""
        ...


class Vocabulary:
    """What a tokenizer's ids mean as text. Special tokens have none."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer`: a `transformers` tokenizer."""
        self._tokenizer = tokenizer
        self._special = _special_ids(tokenizer)
        self._pieces = _byte_pieces(tokenizer)
        if self._pieces is not None and not self._agrees(self._pieces):
            self._pieces = None

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of whole `token_ids`, special tokens left out."""
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def token_text(self, token_id: int) -> str:
        """One token by itself, special tokens by name; for log-probabilities."""
        if self._pieces is not None and token_id not in self._special and token_id < len(self._pieces):
            return self._pieces[token_id].decode("utf-8", "replace")
        text: str = self._tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def detokenizer(self, context: Sequence[int] = ()) -> Detokenizer:
        """For one reply that follows `context`, whose end decides, for some tokenizers, on a leading space."""
        if self._pieces is not None:
            return ByteDetokenizer(self._pieces)
        return WindowDetokenizer(self, context)

    def _agrees(self, pieces: list[bytes]) -> bool:
        """Whether joining pieces gives what the tokenizer's own decoder gives, on a sample."""
        choose = random.Random(0)
        sample = [choose.randrange(len(pieces)) for _ in range(512)] + sorted(self._special)
        return b"".join(pieces[i] for i in sample).decode("utf-8", "replace") == self.decode(sample)


class ByteDetokenizer:
    """For byte-level vocabularies: an incremental UTF-8 decoder over the tokens' bytes."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Add a token; ids beyond the vocabulary (padded embeddings) have no text."""
        return self._decoder.decode(self._pieces[token_id]) if token_id < len(self._pieces) else ""

    def flush(self) -> str:
        """An unfinished character as U+FFFD."""
        return self._decoder.decode(b"", final=True)


class WindowDetokenizer:
    """For any other vocabulary: decodes a short window of tokens with and without the newest ones and compares.

    The window starts where text was last complete, so that spaces between words come out as in the whole text
    (the method of text-generation-inference).
    """

    def __init__(self, vocabulary: Vocabulary, context: Sequence[int]) -> None:
        self._vocabulary = vocabulary
        self._ids = list(context[-6:])
        self._start = 0
        self._shown_end = len(self._ids)
        self._shown = vocabulary.decode(self._ids)

    def push(self, token_id: int) -> str:
        """Add a token."""
        self._ids.append(token_id)
        text = self._vocabulary.decode(self._ids[self._start :])
        if text.endswith("�") or len(text) <= len(self._shown):
            return ""
        return self._take(text)

    def flush(self) -> str:
        """The rest, complete or not."""
        return self._take(self._vocabulary.decode(self._ids[self._start :]))

    def _take(self, text: str) -> str:
        piece = text[len(self._shown) :]
        self._start, self._shown_end = self._shown_end, len(self._ids)
        self._shown = self._vocabulary.decode(self._ids[self._start :])
        return piece


def _byte_pieces(tokenizer: Any) -> list[bytes] | None:
    """Bytes of every token id if the tokenizer's decoder is GPT-2's byte-level one, else None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    if (json.loads(backend.to_str()).get("decoder") or {}).get("type") != "ByteLevel":
        return None
    to_byte = {char: byte for byte, char in byte_characters().items()}
    special = _special_ids(tokenizer)
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    pieces = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, token_id in vocabulary.items():
        if token_id in special:
            continue
        known = all(char in to_byte for char in token)
        pieces[token_id] = bytes(to_byte[char] for char in token) if known else token.encode()
    return pieces


def _special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that `skip_special_tokens` leaves out."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}


def byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for every byte: itself where printable, else the next character from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    table: dict[int, str] = {}
    spare = 256
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(spare)
            spare += 1
    return table
