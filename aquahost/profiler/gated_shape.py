"""What image and audio models' passes do, found by running them, built from their configs, on torch's meta device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from aquahost.config.settings import Kind, ModelSettings
from aquahost.engines.audio.text_to_audio import refuse_unless_text_to_audio
from aquahost.engines.diffusion.load import load_errors
from aquahost.engines.diffusion.pipeline_folder import read_index
from aquahost.engines.diffusion.text_to_image import refuse_unless_text_to_image
from aquahost.engines.quiet import quiet_diffusers
from aquahost.errors import LoadError
from aquahost.profiler.gated_costs import GatedShape, SizedWork, Work
from aquahost.profiler.operations import META, count_work
from aquahost.profiler.pipeline_parts import PipelineParts, build_parts, text_length

SIZES_PX = (512, 768, 1024)
_MULTIPLE_PX = 64
_LATENTS_HELD = 4
"""Copies of a request's latents that are kept from step to step: its own, and what its scheduler remembers."""


def read_gated_shape(folder: Path, settings: ModelSettings) -> GatedShape:
    """The passes of the model whose configs lie in `folder`; takes some seconds. Raises LoadError saying why it can't
    be used or served."""
    quiet_diffusers()
    if (folder / "model_index.json").is_file():
        pipeline_class, _ = read_index(folder, trust_remote_code=settings.trust_remote_code)
        refuse = refuse_unless_text_to_image if settings.kind is Kind.IMAGE else refuse_unless_text_to_audio
        if pipeline_class is not None:
            refuse(pipeline_class)
        parts = build_parts(folder, settings)
        with load_errors(folder):
            return _images(parts, settings) if settings.kind is Kind.IMAGE else _sounds(parts, settings)
    if settings.kind is Kind.IMAGE:
        raise LoadError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    from aquahost.profiler.musicgen_shape import read_musicgen_shape

    return read_musicgen_shape(folder, settings)


def _images(parts: PipelineParts, settings: ModelSettings) -> GatedShape:
    most_px = max(_MULTIPLE_PX, settings.max_size_px // _MULTIPLE_PX * _MULTIPLE_PX)
    sides_px = sorted({px for px in SIZES_PX if px <= most_px} | {most_px})
    autoencoder = parts.autoencoder
    scale = 2 ** (len(getattr(autoencoder.config, "block_out_channels", (0,) * 4)) - 1)
    channels = int(getattr(autoencoder.config, "latent_channels", 4))
    rows, begin = parts.rows(settings), _text_work(parts, settings)
    own_px = int(getattr(parts.denoiser.config, "sample_size", None) or 0) * scale
    return GatedShape(
        parameters=parts.parameters,
        dtype=str(parts.dtype).removeprefix("torch."),
        dtype_bytes=parts.dtype.itemsize,
        sizes=tuple(
            _sized(parts, (rows, channels, px // scale, px // scale), begin, size=float(px * px)) for px in sides_px
        ),
        default_steps=parts.default_steps(settings),
        default_size=float(settings.size_px or min(own_px or most_px, settings.max_size_px)) ** 2,
    )


def _sounds(parts: PipelineParts, settings: ModelSettings) -> GatedShape:
    """Of pipelines that always make as many frames, whatever length is asked for: what is too long is cut."""
    codec, denoiser = parts.autoencoder.config, parts.denoiser.config
    frames, ratios = getattr(denoiser, "sample_size", None), getattr(codec, "downsampling_ratios", None)
    if not (isinstance(frames, int) and ratios and isinstance(getattr(codec, "sampling_rate", None), int)):
        raise LoadError("only audio pipelines with a fixed number of frames, as Stable Audio's, can be worked out")
    latents = (parts.rows(settings), int(denoiser.in_channels), frames)
    longest_s = frames * math.prod(ratios) / codec.sampling_rate
    return GatedShape(
        parameters=parts.parameters,
        dtype=str(parts.dtype).removeprefix("torch."),
        dtype_bytes=parts.dtype.itemsize,
        sizes=(_sized(parts, latents, _text_work(parts, settings), size=longest_s),),
        default_steps=parts.default_steps(settings),
        default_size=min(longest_s, settings.max_duration_s),
    )


def _text_work(parts: PipelineParts, settings: ModelSettings) -> list[Work]:
    rows = parts.rows(settings)
    works = []
    for encoder in parts.text_encoders:
        ids = torch.empty((rows, text_length(encoder)), dtype=torch.int64, device=META)
        works.append(count_work(partial(encoder, ids)))
    return works


def _sized(parts: PipelineParts, latents: tuple[int, ...], begin: list[Work], *, size: float) -> SizedWork:
    one = math.prod(latents[1:]) * parts.dtype.itemsize
    rows, texts = latents[0], parts.text_encoders
    text_bytes = rows * sum(text_length(e) * int(e.config.hidden_size) for e in texts) * parts.dtype.itemsize
    return SizedWork(
        size=size,
        begin=begin,
        step=_step_work(parts, latents),
        end=_decode_work(parts, (1, *latents[1:])),
        held_bytes=_LATENTS_HELD * one + text_bytes,
    )


def _step_work(parts: PipelineParts, latents: tuple[int, ...]) -> Work:
    from diffusers import StableAudioDiTModel, UNet2DConditionModel

    denoiser: Any = parts.denoiser
    kind = type(denoiser)
    given = partial(torch.empty, dtype=parts.dtype, device=META)
    if kind is UNet2DConditionModel:
        call = partial(denoiser, given(latents), given(()), **_unet_conditions(parts, latents[0], given))
    elif kind is StableAudioDiTModel:
        config, rows = denoiser.config, latents[0]
        texts = sum(text_length(encoder) for encoder in parts.text_encoders) + 2  # begin and end of the sound
        angles = torch.empty((latents[2] + 1, config.attention_head_dim // 2), device=META)
        call = partial(
            denoiser,
            given(latents),
            given((1,)),
            encoder_hidden_states=given((rows, texts, config.cross_attention_input_dim)),
            global_hidden_states=given((rows, 1, config.global_states_input_dim)),
            rotary_embedding=(angles, angles),
        )
    else:
        return _transformer_work(parts, latents)
    return count_work(call)


def _unet_conditions(parts: PipelineParts, rows: int, given: Callable[[tuple[int, ...]], torch.Tensor]) -> Any:
    config = parts.denoiser.config
    width = config.cross_attention_dim
    width = max(width) if isinstance(width, list | tuple) else width
    tokens = max((text_length(encoder) for encoder in parts.text_encoders), default=1)
    conditions: dict[str, Any] = {"encoder_hidden_states": given((rows, tokens, width))}
    if config.addition_embed_type == "text_time":
        times = 6  # original size, crop, wanted size
        pooled = config.projection_class_embeddings_input_dim - times * config.addition_time_embed_dim
        conditions["added_cond_kwargs"] = {"text_embeds": given((rows, pooled)), "time_ids": given((rows, times))}
    return conditions


def _transformer_work(parts: PipelineParts, latents: tuple[int, ...]) -> Work:
    """Of denoisers whose call is not known here: every token of every row goes through all parameters once; without
    what attention adds, a tenth or two for a megapixel."""
    denoiser, rows = parts.denoiser, latents[0]
    patch = getattr(denoiser.config, "patch_size", None)
    tokens = rows * math.prod(latents[2:]) // (patch if isinstance(patch, int) else 1) ** 2
    tokens += rows * sum(text_length(encoder) for encoder in parts.text_encoders)
    parameters = sum(p.numel() for p in denoiser.parameters())
    linears = [m for m in denoiser.modules() if isinstance(m, torch.nn.Linear)]
    activations = tokens * sum(m.in_features + m.out_features for m in linears)
    widest = max((m.in_features + m.out_features for m in linears), default=1)
    itemsize = parts.dtype.itemsize
    return Work(
        flops=2.0 * parameters * tokens,
        moved_bytes=itemsize * (parameters + 2 * activations),
        operators=3 * len(linears),
        peak_bytes=2 * itemsize * tokens * widest,
    )


def _decode_work(parts: PipelineParts, latents: tuple[int, ...]) -> Work:
    """Of the autoencoder, and of making it float32 where the pipeline does."""
    autoencoder = parts.autoencoder
    overflows = parts.widens and parts.dtype is torch.float16
    is_wide = overflows and bool(getattr(autoencoder.config, "force_upcast", False))
    dtype = torch.float32 if is_wide else parts.dtype

    def decode() -> Any:
        torch.nn.Module.to(autoencoder, dtype)
        return autoencoder.decode(torch.empty(latents, dtype=dtype, device=META))

    try:
        work = count_work(decode)
    finally:
        torch.nn.Module.to(autoencoder, parts.dtype)
    return replace(work, is_wide=is_wide)
