"""Detokenising and stop strings, piece by piece, against the whole text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from aquahost.engines.llm.detokenizer import ByteDetokenizer, Vocabulary, WindowDetokenizer
from aquahost.engines.llm.stopping import StopStrings
from tiny_llms import VOCABULARY, byte_level_tokenizer

BYTE_LEVEL = Vocabulary(byte_level_tokenizer())
any_ids = st.lists(st.integers(0, VOCABULARY - 1), max_size=40)


def metaspace_vocabulary() -> Vocabulary:
    """A tokenizer of SentencePiece's kind: words with their leading space, bytes for what it does not know."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)
    ])  # fmt: skip
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special[:1], show_progress=False)
    tokenizer.train_from_iterator(["one two three the quick brown fox", "grüße aus köln"] * 3, trainer)
    tokenizer.add_tokens(special[1:])
    return Vocabulary(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"))


@settings(max_examples=150, deadline=None)
@given(ids=any_ids)
def test_pieces_joined_are_the_whole_text(ids: list[int]) -> None:
    detokenizer = BYTE_LEVEL.detokenizer()
    assert isinstance(detokenizer, ByteDetokenizer)
    assert "".join([*(detokenizer.push(i) for i in ids), detokenizer.flush()]) == BYTE_LEVEL.decode(ids)


@settings(max_examples=80, deadline=None)
@given(text=st.text(max_size=30))
def test_no_piece_of_a_valid_text_holds_half_a_character(text: str) -> None:
    ids = byte_level_tokenizer().encode(text, add_special_tokens=False)
    expected = BYTE_LEVEL.decode(ids)
    detokenizer = BYTE_LEVEL.detokenizer()
    pieces = [detokenizer.push(i) for i in ids]
    assert "".join(pieces) == expected
    assert detokenizer.flush() == ""
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_an_unfinished_character_is_replaced_at_the_end_only() -> None:
    ids = byte_level_tokenizer().encode("🎈", add_special_tokens=False)
    assert len(ids) > 1
    detokenizer = BYTE_LEVEL.detokenizer()
    assert [detokenizer.push(i) for i in ids[:-1]] == [""] * (len(ids) - 1)
    assert detokenizer.flush() == "\ufffd"


def test_special_tokens_and_unknown_ids_have_no_text() -> None:
    detokenizer = BYTE_LEVEL.detokenizer()
    assert [detokenizer.push(i) for i in (0, 1, 2, VOCABULARY + 7)] == [""] * 4
    assert BYTE_LEVEL.token_text(1) == "</s>"


@settings(max_examples=80, deadline=None)
@given(ids=any_ids)
def test_the_window_method_gives_the_same_text(ids: list[int]) -> None:
    detokenizer = WindowDetokenizer(BYTE_LEVEL, [])
    pieces = [detokenizer.push(i) for i in ids]
    text = "".join([*pieces, detokenizer.flush()])
    assert text.replace("\ufffd", "") == BYTE_LEVEL.decode(ids).replace("\ufffd", "")


def test_other_vocabularies_keep_the_space_between_context_and_reply() -> None:
    vocabulary = metaspace_vocabulary()
    assert isinstance(vocabulary.detokenizer(), WindowDetokenizer)
    tokenizer = vocabulary._tokenizer
    whole = "the quick brown fox"
    ids = tokenizer.encode(whole, add_special_tokens=False)
    for cut in range(1, len(ids)):
        context = vocabulary.decode(ids[:cut])
        detokenizer = vocabulary.detokenizer(ids[:cut])
        pieces = [detokenizer.push(i) for i in ids[cut:]]
        assert context + "".join([*pieces, detokenizer.flush()]) == whole


def test_byte_fallback_tokens_wait_for_the_whole_character() -> None:
    vocabulary = metaspace_vocabulary()
    ids = [vocabulary._tokenizer.convert_tokens_to_ids(f"<0x{byte:02X}>") for byte in "é".encode()]
    detokenizer = vocabulary.detokenizer()
    assert [detokenizer.push(i) for i in ids] == ["", "é"]


pieces_of_text = st.lists(st.text(alphabet="abc", max_size=4), max_size=12)
stop_strings = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


@settings(max_examples=300, deadline=None)
@given(pieces=pieces_of_text, stops=stop_strings)
def test_stop_strings_cut_as_if_the_text_had_come_at_once(pieces: list[str], stops: list[str]) -> None:
    matcher = StopStrings(tuple(stops))
    shown, stopped, seen = "", False, ""
    for piece in pieces:
        seen += piece
        text, stopped = matcher.push(piece)
        shown += text
        if stopped:
            break
    if not stopped:
        shown += matcher.flush()
    found = [seen.find(stop) for stop in stops if stop in seen]
    assert stopped == bool(found)
    assert shown == (seen[: min(found)] if found else seen)


@settings(max_examples=100, deadline=None)
@given(pieces=pieces_of_text, stops=stop_strings)
def test_nothing_is_held_back_without_need(pieces: list[str], stops: list[str]) -> None:
    matcher = StopStrings(tuple(stops))
    shown, seen = "", ""
    for piece in pieces:
        seen += piece
        text, stopped = matcher.push(piece)
        if stopped:
            return
        shown += text
        held = seen[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stops)
