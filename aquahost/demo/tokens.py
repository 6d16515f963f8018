"""Tokenizers for the demo models, trained in a moment on `corpus`, or on the texts that a model is to learn."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from aquahost.demo.corpus import CORPUS

VOCABULARY = 1024
"""Upper bound on the number of tokens; the text may yield fewer."""


def byte_level_tokenizer(
    special: dict[str, str],
    *,
    extra: tuple[str, ...] = (),
    append_eos: bool = False,
    texts: Iterable[str] | None = None,
    vocabulary: int = VOCABULARY,
    single_digits: bool = False,
) -> Any:
    """A byte-level BPE tokenizer, which can spell any text. `special` maps roles ("eos_token", …) to tokens; with
    `single_digits` each digit is a token of its own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(r"\d"), "isolated"), bytes_alone])
        if single_digits
        else bytes_alone
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(dict.fromkeys([*special.values(), *extra])),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines() if texts is None else texts, trainer)
    if append_eos:
        eos = special["eos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {eos}", special_tokens=[(eos, tokenizer.token_to_id(eos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]


def clip_tokenizer(*, max_tokens: int, texts: Iterable[str] | None = None, vocabulary: int = VOCABULARY) -> Any:
    """A tokenizer of CLIP's kind: lower case, words end in `</w>`, every byte known in both forms."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        # Named beforehand, or they are numbered in the order of a hash table and the merges differ from run to run.
        special_tokens=[f"{letter}</w>" for letter in alphabet],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines() if texts is None else texts, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), *(left + right for left, right in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    numbered = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=numbered, merges=merges, model_max_length=max_tokens)  # type: ignore[arg-type]
