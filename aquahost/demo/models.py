"""The demo models: real architectures, tiny and untrained."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from aquahost.demo.tokens import byte_level_tokenizer, clip_tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_chat(folder: Path) -> None:
    """The model of `chat_model`, with a tokenizer of any text."""
    tokenizer = byte_level_tokenizer({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}, extra=("<|im_start|>",))
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = 2048
    _save(folder, chat_model(tokenizer), tokenizer)


def chat_model(tokenizer: Any) -> Any:
    """A Llama of 4 layers, hidden 256, context 2048, untrained."""
    transformers = _library("transformers")
    config = transformers.LlamaConfig(
        **_vocabulary(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model = transformers.LlamaForCausalLM(config)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return model


def make_paint(folder: Path) -> None:
    """A Stable Diffusion of 64x64 pixels: latents of 16x16, a UNet of two levels."""
    diffusers, transformers = _library("diffusers"), _library("transformers")
    tokenizer = clip_tokenizer(max_tokens=77)
    text_config = transformers.CLIPTextConfig(
        **_vocabulary(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=8,
        norm_num_groups=16,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=64,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        text_encoder=transformers.CLIPTextModel(text_config),
        tokenizer=tokenizer,
        unet=unet,
        vae=vae,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing="leading",
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def make_sing(folder: Path) -> None:
    """A MusicGen of two layers and two codebooks: 16 kHz, 50 tokens a second, 4 seconds unless asked."""
    transformers = _library("transformers")
    tokenizer = byte_level_tokenizer({"eos_token": "</s>", "pad_token": "<pad>"}, append_eos=True)
    text_config = transformers.T5Config(
        **_vocabulary(tokenizer), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4
    )
    codebook = 64
    codec_config = transformers.EncodecConfig(
        sampling_rate=16_000,
        target_bandwidths=[0.6],  # two codebooks of 6 bits, 50 times a second
        hidden_size=32,
        num_filters=8,
        codebook_size=codebook,
        num_lstm_layers=1,
    )
    decoder_config = transformers.MusicgenDecoderConfig(
        vocab_size=codebook,
        num_hidden_layers=2,
        ffn_dim=256,
        num_attention_heads=4,
        hidden_size=64,
        num_codebooks=2,
        pad_token_id=codebook,
        bos_token_id=codebook,
        max_position_embeddings=2048,
    )
    config = transformers.MusicgenConfig(
        text_encoder=text_config.to_dict(), audio_encoder=codec_config.to_dict(), decoder=decoder_config.to_dict()
    )
    model = transformers.MusicgenForConditionalGeneration(config)
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_(std=4.0)  # zeros otherwise, and then every token sounds the same
    model.generation_config = transformers.GenerationConfig(
        max_length=201,
        do_sample=True,
        guidance_scale=3.0,
        decoder_start_token_id=codebook,
        bos_token_id=codebook,
        pad_token_id=codebook,
    )
    _save(folder, model, tokenizer)


def _vocabulary(tokenizer: Any) -> dict[str, int | None]:
    """What a text model's config says of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _library(name: str) -> Any:
    """A library whose classes carry no types, imported only when a model is made."""
    return import_module(name)


def _save(folder: Path, model: Any, tokenizer: Any) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
