"""The small Llama that language figures are measured with, as a model folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

HIDDEN = 256
LAYERS = 4
HEADS = 8
KV_HEADS = 4
VOCABULARY = 4096
MAX_CONTEXT = 2048
KV_BYTES_PER_TOKEN = LAYERS * 2 * KV_HEADS * (HIDDEN // HEADS) * 4


def make_tiny_llama(folder: Path) -> Path:
    """Write an fp32 Llama: hidden 256, 4 layers, 8 heads (4 KV), vocabulary 4,096; random weights of a fixed seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from aquahost.engines.quiet import quiet_transformers

    quiet_transformers()
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=688,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=MAX_CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
        dtype="float32",
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def _tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE vocabulary of the right size: every byte, and pairs of bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = list(itertools.islice(itertools.product(letters, letters), VOCABULARY - len(letters) - 2))
    names = ["<s>", "</s>", *letters, *(a + b for a, b in pairs)]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]
