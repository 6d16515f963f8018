"""Trains the image model: first the autoencoder, then text encoder and UNet on its latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch.nn import functional

from aquahost.demo.tokens import clip_tokenizer
from demo_training.figures import Figures
from demo_training.paint_check import shows
from demo_training.paint_data import Scene, draw, scenes
from demo_training.paint_model import NOISE, autoencoder, pipeline, text_encoder, unet
from demo_training.schedule import Descent, Told, device

SEED = 1
VAE_STEPS = 2500
STEPS = 7000
PICTURES = 20_000
SAMPLING_STEPS = 20
GUIDANCE = 3.0
_VOCABULARY = 700
_TEXT_TOKENS = 32
_VAE_ROWS, _ROWS = 24, 64
_VAE_RATE, _RATE = 2e-3, 1e-3
_KEPT = 0.998
"""Of the mean weights, which are the ones that are shipped, with each step."""
_KL_WEIGHT = 1e-4 / 64
_UNASKED = 0.1
"""Of the pictures are learned without their words, for guidance."""


def new_tokenizer() -> Any:
    """Learned from the words for scenes."""
    prompts = [scene.prompt for scene in itertools.islice(scenes(SEED), 2000)]
    return clip_tokenizer(max_tokens=_TEXT_TOKENS, texts=prompts, vocabulary=_VOCABULARY)


def train_vae(*, steps: int, told: Told, kept: Path) -> Any:
    """The autoencoder, whose latents have a spread of one once they are scaled."""
    torch.manual_seed(SEED)
    vae = autoencoder().to(device()).train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=_VAE_RATE, weight_decay=0.0)
    descent = Descent({"vae": vae}, optimizer, steps=steps, highest=_VAE_RATE, told=told, kept=kept / "paint-vae.pt")
    batches = itertools.islice(_pictures(SEED, _VAE_ROWS), descent.step, None)
    while descent.goes_on:
        images = next(batches)[1].to(device())
        spread = vae.encode(images).latent_dist
        restored = vae.decode(spread.sample()).sample
        off = functional.l1_loss(restored, images) + functional.mse_loss(restored, images)
        descent.down(off + _KL_WEIGHT * spread.kl().mean())
        descent.keep()
    vae.eval()
    _, images = next(_pictures(SEED + 1, 256))
    with torch.inference_mode():
        latents = vae.encode(images.to(device())).latent_dist.sample()
    vae.register_to_config(scaling_factor=1 / float(latents.std()))
    return vae


def train(vae: Any, tokenizer: Any, *, steps: int, told: Told, kept: Path) -> Any:
    """The pipeline, once text encoder and UNet know which noise belongs to which words."""
    torch.manual_seed(SEED)
    both = torch.nn.ModuleList([text_encoder(tokenizer), unet()]).to(device()).train()
    mean = deepcopy(both).eval()
    optimizer = torch.optim.AdamW(both.parameters(), lr=_RATE, weight_decay=0.01)
    parts = {"weights": both, "mean": mean}
    latents, words = _dataset(vae, tokenizer)
    descent = Descent(parts, optimizer, steps=steps, highest=_RATE, told=told, kept=kept / "paint.pt")
    noises, unasked = DDPMScheduler(**NOISE), _tokens(tokenizer, [""])
    while descent.goes_on:
        chosen = torch.randint(len(latents), (_ROWS,))
        ids = torch.where(torch.rand(_ROWS, 1) < _UNASKED, unasked, words[chosen])
        clean = latents[chosen]
        added, at = torch.randn_like(clean), torch.randint(len(noises), (_ROWS,))
        descent.down(_off(both, ids, noises.add_noise(clean, added, at), at, added))
        _follow(mean, both, share=1 - min(_KEPT, descent.step / (descent.step + 10)))
        descent.keep()
    mean.to("cpu")
    return pipeline(tokenizer, mean[0], vae.to("cpu"), mean[1])


def save(trained: Any, folder: Path) -> None:
    """Write the pipeline, weights in half precision."""
    trained.to(torch.float16).save_pretrained(folder, safe_serialization=True)


def evaluate(folder: Path, *, count: int = 50) -> Figures:
    """Ask for scenes that training has never asked for."""
    trained = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    trained.set_progress_bar_config(disable=True)
    asked = list(itertools.islice(scenes(SEED + 1, held_out=True), count))
    failures = [scene.prompt for number, scene in enumerate(asked) if not shows(paint(trained, scene, number), scene)]
    parts = trained.text_encoder, trained.unet, trained.vae
    parameters = sum(parameter.numel() for part in parts for parameter in part.parameters())
    return Figures(parameters=parameters, passed=count - len(failures), checked=count, failures=failures)


def paint(trained: Any, scene: Scene, seed: int) -> Any:
    """A picture of the scene."""
    made = trained(
        scene.prompt,
        num_inference_steps=SAMPLING_STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    )
    return made.images[0]


def _off(both: Any, ids: torch.Tensor, noisy: torch.Tensor, at: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """How far the noise that was added is from the noise that is told of."""
    text, unet_ = both
    words = text(ids.to(device())).last_hidden_state
    told_noise = unet_(noisy.to(device()), at.to(device()), encoder_hidden_states=words).sample
    return functional.mse_loss(told_noise, added.to(device()))


def _follow(mean: Any, both: Any, *, share: float) -> None:
    with torch.no_grad():
        for slow, fast in zip(mean.parameters(), both.parameters(), strict=True):
            slow.lerp_(fast, share)


def _dataset(vae: Any, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents and words of many scenes."""
    latents, words = [], []
    with torch.inference_mode():
        for asked, images in itertools.islice(_pictures(SEED, 200), PICTURES // 200):
            spread = vae.encode(images.to(device())).latent_dist
            latents.append(spread.sample().cpu() * vae.config.scaling_factor)
            words.append(_tokens(tokenizer, [scene.prompt for scene in asked]))
    return torch.cat(latents).clone(), torch.cat(words)


def _tokens(tokenizer: Any, prompts: Sequence[str]) -> torch.Tensor:
    ids: torch.Tensor = tokenizer(
        list(prompts), padding="max_length", truncation=True, max_length=tokenizer.model_max_length, return_tensors="pt"
    )["input_ids"]
    return ids


def _pictures(seed: int, rows: int) -> Iterator[tuple[list[Scene], torch.Tensor]]:
    """Batches of scenes and their pictures, from -1 to 1."""
    stream, chance = scenes(seed), Random(seed)
    while True:
        asked = list(itertools.islice(stream, rows))
        images = np.stack([draw(scene, chance) for scene in asked])
        yield asked, torch.from_numpy(images).permute(0, 3, 1, 2) * 2 - 1
