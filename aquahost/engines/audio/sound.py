"""Samples made into files."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from aquahost.engines.gated_model import Made

Samples = npt.NDArray[np.float32]
"""Shape (frames, channels), full scale at 1."""

SMALLEST_TRIAL_S = 0.25
"""The shortest sound whose memory is measured at a load."""
FORMATS = ("wav", "flac", "mp3", "opus", "pcm")
_MEDIA_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "pcm": "audio/pcm",
}
_SOUNDFILE = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "mp3": ("MP3", None), "opus": ("OGG", "OPUS")}
_RATES = {
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
"""The only sampling rates these formats know, in Hz."""


def as_samples(audio: Any) -> Samples:
    """One sound of shape (channels, frames) or (frames,), an array or a tensor, as `Samples`."""
    if hasattr(audio, "detach"):
        audio = audio.detach().to("cpu").float().numpy()
    samples = np.asarray(audio, dtype=np.float32)
    samples = samples[:, None] if samples.ndim == 1 else samples.T
    clipped: Samples = np.clip(np.nan_to_num(samples), -1.0, 1.0)
    return np.ascontiguousarray(clipped)


def encode_sound(samples: Samples, rate_hz: int, file_format: str) -> Made:
    """A file in one of `FORMATS`, 16 bit where the format has bits; pcm is bare, interleaved, little endian."""
    media_type = _MEDIA_TYPES[file_format]
    if file_format == "pcm":
        return Made(media_type=media_type, data=np.rint(samples * 32767).astype("<i2").tobytes())
    rates = _RATES.get(file_format)
    if rates is not None and rate_hz not in rates:
        higher_hz = next((rate for rate in rates if rate >= rate_hz), rates[-1])
        samples, rate_hz = resample(samples, rate_hz, higher_hz), higher_hz
    import soundfile

    container, subtype = _SOUNDFILE[file_format]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return Made(media_type=media_type, data=buffer.getvalue())


def resample(samples: Samples, rate_hz: int, new_rate_hz: int) -> Samples:
    """The same sound at another rate, by truncating or padding its spectrum (exact below both Nyquist limits)."""
    frames = samples.shape[0]
    new_frames = max(1, round(frames * new_rate_hz / rate_hz))
    spectrum = np.fft.rfft(samples, axis=0)
    resampled = np.fft.irfft(spectrum[: new_frames // 2 + 1], n=new_frames, axis=0) * (new_frames / frames)
    clipped: Samples = np.clip(resampled, -1.0, 1.0).astype(np.float32)
    return clipped
