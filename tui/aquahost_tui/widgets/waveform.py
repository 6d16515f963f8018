"""Sounds as characters: how loud each moment is, as columns of blocks mirrored at the middle. Pure."""

from __future__ import annotations

import io
import sys
import wave
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_STANDING = " ▁▂▃▄▅▆▇█"
_HANGING = " ▔▔▀▀▀▀██"
_SAMPLE_BYTES = 2
_FULL = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What a WAV file holds."""

    length_s: float
    rate_hz: int
    channels: int
    peaks: list[float]
    """The loudest moment of each of some equal parts, from 0 to 1."""

    @property
    def words(self) -> str:
        """Length, rate and channels: "4.0 s, 16 kHz, mono"."""
        channels = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        return f"{self.length_s:.1f} s, {self.rate_hz / 1000:g} kHz, {channels}"


def read_sound(data: bytes, parts: int) -> Sound:
    """The sound in a WAV file's bytes. Raises ValueError that says why there is none."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            if file.getsampwidth() != _SAMPLE_BYTES:
                raise ValueError(f"the sound cannot be drawn: it has {8 * file.getsampwidth()} bits a sample, not 16")
            raw = file.readframes(file.getnframes())
            rate_hz, channels = file.getframerate(), file.getnchannels()
    except (wave.Error, EOFError) as error:
        raise ValueError(f"the sound cannot be drawn: {error or 'its file is cut off'}") from error
    samples = array("h", raw[: len(raw) - len(raw) % _SAMPLE_BYTES])
    if sys.byteorder == "big":
        samples.byteswap()
    length_s = len(samples) / channels / rate_hz if rate_hz else 0.0
    return Sound(length_s=length_s, rate_hz=rate_hz, channels=channels, peaks=peaks_of(samples, parts))


def peaks_of(samples: Sequence[int], parts: int) -> list[float]:
    """The largest of each part, from 0 to 1; fewer parts where there are fewer samples."""
    parts = min(parts, len(samples))
    edges = [len(samples) * at // parts for at in range(parts + 1)] if parts > 0 else []
    return [max(max(samples[left:right]), -min(samples[left:right])) / _FULL for left, right in pairwise(edges)]


def wave_lines(peaks: Sequence[float], height: int) -> list[str]:
    """`height` lines (an even number) of text, drawn to the loudest moment; below the middle they are coarser, because
    fonts have few blocks that hang from above."""
    most = max(peaks, default=0.0) or 1.0
    half = max(height // 2, 1)
    eighths = [max(round(peak / most * half * 8), 1) if peak else 0 for peak in peaks]
    above = [[min(max(level - rest * 8, 0), 8) for level in eighths] for rest in range(half - 1, -1, -1)]
    upper = ["".join(_STANDING[level] for level in levels) for levels in above]
    lower = ["".join(_HANGING[level] for level in levels) for levels in reversed(above)]
    return upper + lower
