"""Trains the chat model: tokenizer, weights, and how well it does on what it has not seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from aquahost.demo.models import CHAT_TEMPLATE, chat_model
from aquahost.demo.tokens import byte_level_tokenizer
from demo_training.chat_data import Turn, checks, conversations
from demo_training.figures import Figures
from demo_training.schedule import Descent, Told, device

SEED = 1
HELD_OUT_SEED = 1_000_003
VOCABULARY = 1024
ROW_TOKENS = 256
BATCH_ROWS = 12
STEPS = 2000
_TOKENIZER_CONVERSATIONS = 4000
_RATE = 2e-3
_LONGEST_REPLY = 220
_IGNORED = -100
PERPLEXITY = "perplexity"


def make_tokenizer() -> Any:
    """A byte-level BPE learned from the conversations."""
    talks = itertools.islice(conversations(SEED), _TOKENIZER_CONVERSATIONS)
    made = byte_level_tokenizer(
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        extra=("<|im_start|>",),
        texts=(turn["content"] for talk in talks for turn in talk),
        vocabulary=VOCABULARY,
        single_digits=True,
    )
    made.chat_template = CHAT_TEMPLATE
    made.model_max_length = 2048
    return made


def train(folder: Path, *, steps: int, told: Told, kept: Path) -> None:
    """Make the model in `folder`; the same for a number of steps, on one kind of machine. `kept` is a folder for what
    a training that is stopped goes on from."""
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = chat_model(tokenizer).to(device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    descent = Descent({"chat": model}, optimizer, steps=steps, highest=_RATE, told=told, kept=kept / "chat.pt")
    batches = itertools.islice(_batches(tokenizer, SEED), descent.step, None)
    while descent.goes_on:
        ids, labels = next(batches)
        descent.down(model(input_ids=ids.to(device()), labels=labels.to(device())).loss)
        descent.keep()
    model.to(device="cpu", dtype=torch.float16).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def evaluate(folder: Path, *, count: int = 50, talks: int = 200) -> Figures:
    """The figures of a trained model: greedy replies to `count` prompts, perplexity over `talks` conversations."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = checks(count, HELD_OUT_SEED)
    came = replies(model, tokenizer, [[{"role": "user", "content": one.asked}] for one in asked])
    failures = [
        f"{one.asked} -> {text}"
        for one, (text, ended) in zip(asked, came, strict=True)
        if not (ended and one.passes(text))
    ]
    return Figures(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        passed=count - len(failures),
        checked=count,
        failures=failures,
        more={PERPLEXITY: f"{perplexity(model, tokenizer, talks):.3f}"},
    )


def replies(model: Any, tokenizer: Any, talks: list[list[Turn]]) -> list[tuple[str, bool]]:
    """The greedy reply to each, and whether it ended by itself; the tokenizer pads on the left."""
    ids = tokenizer.apply_chat_template(
        talks, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
    )
    with torch.inference_mode():
        rows = model.generate(**ids, do_sample=False, max_new_tokens=_LONGEST_REPLY)[:, ids["input_ids"].shape[1] :]
    return [
        (tokenizer.decode(row, skip_special_tokens=True), bool((row == tokenizer.eos_token_id).any())) for row in rows
    ]


def _batches(tokenizer: Any, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of whole conversations, cut at the row's end; labels are the assistant's tokens."""
    talks = conversations(seed)
    while True:
        rows = [_row(tokenizer, talks) for _ in range(BATCH_ROWS)]
        yield torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])


def _row(tokenizer: Any, talks: Iterator[list[Turn]]) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    labels: list[int] = []
    while len(ids) < ROW_TOKENS:
        for more, wanted in _encoded(tokenizer, next(talks)):
            ids += more
            labels += wanted
    return ids[:ROW_TOKENS], labels[:ROW_TOKENS]


def _encoded(tokenizer: Any, talk: list[Turn]) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens of each turn as the chat template writes them, and of these the ones to learn: a reply and its end."""
    for turn in talk:
        head = tokenizer.encode(f"<|im_start|>{turn['role']}\n", add_special_tokens=False)
        body = tokenizer.encode(f"{turn['content']}<|im_end|>", add_special_tokens=False)
        tail = tokenizer.encode("\n", add_special_tokens=False)
        learned = body if turn["role"] == "assistant" else [_IGNORED] * len(body)
        yield head + body + tail, [_IGNORED] * len(head) + learned + [_IGNORED] * len(tail)


def perplexity(model: Any, tokenizer: Any, talks: int) -> float:
    """Of the assistant's tokens in conversations that no training has seen."""
    total, count = 0.0, 0
    for talk in itertools.islice(conversations(HELD_OUT_SEED), talks):
        pieces = list(_encoded(tokenizer, talk))
        ids = torch.tensor([list(itertools.chain(*(one for one, _ in pieces)))])
        labels = torch.tensor([list(itertools.chain(*(one for _, one in pieces)))])
        learned = int((labels[:, 1:] != _IGNORED).sum())
        with torch.inference_mode():
            total += float(model(input_ids=ids, labels=labels).loss) * learned
        count += learned
    return math.exp(total / count)
