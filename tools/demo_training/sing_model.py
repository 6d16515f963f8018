"""The sound demo: a MusicGen whose codec plays the frames of `sing_data`."""

from __future__ import annotations

from typing import Any

from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    T5Config,
)

from demo_training.sing_data import CHECKED_FRAMES, FRAMES_PER_S, RATE_HZ, TOKENS, VOICES

CODEBOOK = 512
_RATIOS = [8, 5, 5, 4]
"""Samples of a frame: their product."""
_WIDTH = 128


def sing_model(tokenizer: Any) -> Any:
    """The model, untrained; the tokens of its codec's codebooks are those of `sing_data`, the same in all of them."""
    assert TOKENS <= CODEBOOK
    text = T5Config(
        vocab_size=len(tokenizer),
        d_model=_WIDTH,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    codec = EncodecConfig(
        sampling_rate=RATE_HZ,
        target_bandwidths=[VOICES * 10 * FRAMES_PER_S / 1000],
        upsampling_ratios=_RATIOS,
        hidden_size=_WIDTH,
        num_filters=8,
        num_residual_layers=1,
        num_lstm_layers=1,
        codebook_size=CODEBOOK,
        pad_mode="constant",
    )
    decoder = MusicgenDecoderConfig(
        vocab_size=CODEBOOK,
        max_position_embeddings=256,
        num_hidden_layers=3,
        ffn_dim=384,
        num_attention_heads=4,
        hidden_size=_WIDTH,
        num_codebooks=VOICES,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        pad_token_id=CODEBOOK,
        bos_token_id=CODEBOOK,
    )
    config = MusicgenConfig(text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict())
    model = MusicgenForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        max_length=CHECKED_FRAMES + VOICES,
        do_sample=True,
        temperature=0.5,
        guidance_scale=1.0,
        decoder_start_token_id=CODEBOOK,
        bos_token_id=CODEBOOK,
        pad_token_id=CODEBOOK,
    )
    return model
