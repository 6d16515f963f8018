"""Samples made into files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
import torch

from aquahost.engines.audio.sound import as_samples, encode_sound, resample


def _tone(rate_hz: int, seconds: float = 0.5, hz: float = 440.0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    times = np.arange(round(rate_hz * seconds)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32)[:, None]


def test_samples_are_frames_by_channels_within_full_scale() -> None:
    assert as_samples(torch.zeros(2, 5)).shape == (5, 2)
    assert as_samples(np.zeros(5)).shape == (5, 1)
    assert as_samples(torch.tensor([[2.0, float("nan"), -3.0]], dtype=torch.bfloat16)).tolist() == [
        [1.0],
        [0.0],
        [-1.0],
    ]


@pytest.mark.parametrize("channels", [1, 2])
def test_wav_holds_the_samples_to_16_bits(channels: int) -> None:
    samples = np.repeat(_tone(16_000), channels, axis=1)
    made = encode_sound(samples, 16_000, "wav")
    read, rate_hz = soundfile.read(io.BytesIO(made.data), always_2d=True)
    assert (rate_hz, soundfile.info(io.BytesIO(made.data)).subtype) == (16_000, "PCM_16")
    np.testing.assert_allclose(read, samples, atol=1 / 32768)


def test_pcm_is_bare_little_endian_16_bit() -> None:
    made = encode_sound(np.array([[1.0, -1.0], [0.0, 0.5]], dtype=np.float32), 8_000, "pcm")
    assert np.frombuffer(made.data, dtype="<i2").tolist() == [32767, -32767, 0, 16384]


@pytest.mark.parametrize(("file_format", "rate_hz", "written_hz"), [("opus", 32_000, 48_000), ("mp3", 96_000, 48_000)])
def test_rates_a_format_does_not_know_are_resampled(file_format: str, rate_hz: int, written_hz: int) -> None:
    made = encode_sound(_tone(rate_hz), rate_hz, file_format)
    info = soundfile.info(io.BytesIO(made.data))
    assert info.samplerate == written_hz
    assert info.duration == pytest.approx(0.5, abs=0.1)


def test_resampling_keeps_a_tone() -> None:
    for new_rate_hz in (12_000, 24_000):
        np.testing.assert_allclose(resample(_tone(16_000), 16_000, new_rate_hz), _tone(new_rate_hz), atol=1e-3)
