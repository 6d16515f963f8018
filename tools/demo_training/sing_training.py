"""Trains the sound model: first the codec that plays tokens, then the language model that writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer, MusicgenForConditionalGeneration

from aquahost.demo.tokens import byte_level_tokenizer
from demo_training.figures import Figures
from demo_training.schedule import Descent, Told, device
from demo_training.sing_check import has_pitches
from demo_training.sing_data import (
    CHECKED_FRAMES,
    FRAME_SAMPLES,
    FRAMES,
    NOTES,
    RATE_HZ,
    SILENCE,
    TOKENS,
    TONES,
    VOICES,
    plucked,
    sounds,
    waves,
)
from demo_training.sing_model import CODEBOOK, sing_model

SEED = 1
CODEC_STEPS = 3000
STEPS = 4000
_VOCABULARY = 512
_CODEC_ROWS, _CODEC_FRAMES = 12, 12
_ROWS = 32
_CODEC_RATE, _RATE = 3e-3, 1.5e-3


def new_model() -> tuple[Any, Any]:
    """The tokenizer, learned from prompts, and the untrained model."""
    torch.manual_seed(SEED)
    prompts = (sound.prompt for sound in itertools.islice(sounds(SEED), 5000))
    tokenizer = byte_level_tokenizer(
        {"eos_token": "</s>", "pad_token": "<pad>"},
        append_eos=True,
        texts=prompts,
        vocabulary=_VOCABULARY,
        single_digits=True,
    )
    tokenizer.model_max_length = 128
    return tokenizer, sing_model(tokenizer)


def train_codec(model: Any, *, steps: int, told: Told, kept: Path) -> None:
    """Have the codec's decoder play the sum of its tokens' embeddings as the sum of their sounds."""
    torch.manual_seed(SEED)
    codec = model.audio_encoder.to(device()).train()
    table = torch.nn.Embedding(CODEBOOK, codec.config.hidden_size).to(device())
    sound_of = torch.zeros(CODEBOOK, FRAME_SAMPLES, device=device())
    sound_of[:TOKENS] = torch.from_numpy(waves())
    parts = {"table": table, "decoder": codec.decoder}
    parameters = [*table.parameters(), *codec.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_CODEC_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    file = kept / "sing-codec.pt"
    descent = Descent(parts, optimizer, steps=steps, highest=_CODEC_RATE, told=told, kept=file)
    batches = itertools.islice(_codes(Random(SEED)), descent.step, None)
    while descent.goes_on:
        codes = next(batches).to(device())
        wanted = sound_of[codes].sum(2).flatten(1)
        played = codec.decoder(table(codes).sum(2).transpose(1, 2)).squeeze(1)
        off = functional.l1_loss(played, wanted) + 10 * functional.mse_loss(played, wanted)
        descent.down(off + _spectral(played, wanted))
        descent.keep()
    for layer in codec.quantizer.layers:
        layer.codebook.embed.copy_(table.weight.detach())


def train(model: Any, tokenizer: Any, *, steps: int, told: Told, kept: Path) -> None:
    """Have the language model write the tokens that a prompt asks for."""
    torch.manual_seed(SEED)
    model.to(device()).train()
    parts = {"text": model.text_encoder, "decoder": model.decoder}
    parameters = [*model.text_encoder.parameters(), *model.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    descent = Descent(parts, optimizer, steps=steps, highest=_RATE, told=told, kept=kept / "sing.pt")
    stream = itertools.islice(sounds(SEED), _ROWS * descent.step, None)
    while descent.goes_on:
        rows = list(itertools.islice(stream, _ROWS))
        inputs = tokenizer([row.prompt for row in rows], return_tensors="pt", padding=True).to(device())
        labels = torch.stack([_delayed(torch.from_numpy(row.codes)) for row in rows]).to(device())
        before = functional.pad(labels[:, :-1], (0, 0, 1, 0), value=CODEBOOK).transpose(1, 2).flatten(0, 1)
        descent.down(model(**inputs, decoder_input_ids=before, labels=labels).loss)
        descent.keep()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write both, weights in half precision."""
    model.to(device="cpu", dtype=torch.float16).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def evaluate(folder: Path, *, count: int = 30) -> Figures:
    """Ask for sounds that training has never asked for."""
    torch.manual_seed(SEED)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = MusicgenForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    asked = list(itertools.islice(sounds(SEED + 1, held_out=True), count))
    failures = []
    for sound in asked:
        with torch.inference_mode():
            played = model.generate(
                **tokenizer([sound.prompt], return_tensors="pt"), max_new_tokens=CHECKED_FRAMES + VOICES - 1
            )
        if not has_pitches(played[0, 0].numpy(), RATE_HZ, sound.spans):
            failures.append(sound.prompt)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Figures(parameters=parameters, passed=count - len(failures), checked=count, failures=failures)


def _codes(chance: Random) -> Iterator[torch.Tensor]:
    """Batches of random sounds: up to three voices, held and plucked, that change now and then."""
    while True:
        batch = torch.full((_CODEC_ROWS, _CODEC_FRAMES, VOICES), SILENCE)
        for row in batch:
            for voice in range(chance.randint(1, VOICES)):
                at = 0
                while at < _CODEC_FRAMES:
                    length = chance.choice((2, 3, _CODEC_FRAMES, _CODEC_FRAMES))
                    tokens = _phrase(chance, length)[: _CODEC_FRAMES - at]
                    row[at : at + len(tokens), voice] = torch.tensor(tokens)
                    at += length
        yield batch


def _phrase(chance: Random, length: int) -> list[int]:
    kind = chance.random()
    if kind < 0.05:
        return [SILENCE] * length
    if kind < 0.5:
        return [1 + chance.randrange(TONES)] * length
    note = chance.randrange(NOTES)
    return [plucked(note, age) for age in range(length)]


def _delayed(codes: torch.Tensor) -> torch.Tensor:
    """The codes as MusicGen writes them: each voice one token behind the one before it."""
    labels = torch.full((FRAMES + VOICES - 1, VOICES), CODEBOOK)
    for voice in range(VOICES):
        labels[voice : voice + FRAMES, voice] = codes[:, voice]
    return labels


def _spectral(played: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    losses = []
    for size in (256, 1024):
        window = torch.hann_window(size, device=played.device)
        one, other = (
            torch.stft(sound, size, size // 2, window=window, return_complex=True).abs() for sound in (played, wanted)
        )
        losses.append(functional.l1_loss(one, other) / size**0.5)
    return torch.stack(losses).sum()
