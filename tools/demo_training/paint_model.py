"""The image demo: a Stable Diffusion of 64x64 pixels."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from demo_training.paint_data import SIZE_PX

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The noise that training adds and sampling takes away."""
LATENT_PX = SIZE_PX // 4
_WIDTH = 64


def text_encoder(tokenizer: Any) -> Any:
    """CLIP's text encoder of two layers, untrained."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            max_position_embeddings=tokenizer.model_max_length,
            hidden_size=_WIDTH,
            intermediate_size=2 * _WIDTH,
            projection_dim=_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
        )
    )


def autoencoder() -> Any:
    """Pictures to latents of 16x16 and back, untrained."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=SIZE_PX,
    )


def unet() -> Any:
    """Tells noise from picture, untrained; it looks at the text at 8x8 and at 4x4."""
    return UNet2DConditionModel(
        sample_size=LATENT_PX,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def pipeline(tokenizer: Any, text: Any, vae: Any, noise: Any) -> Any:
    """All of it, as diffusers loads it."""
    return StableDiffusionPipeline(
        text_encoder=text,
        tokenizer=tokenizer,
        unet=noise,
        vae=vae,
        scheduler=EulerDiscreteScheduler(**NOISE, timestep_spacing="leading", steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
