"""Whether a sound has the pitches that were asked for, by its spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from demo_training.sing_data import Span

TOLERANCE = 0.03
"""By which a pitch may be off."""
_LOWEST_HZ, _HIGHEST_HZ = 150.0, 1300.0
_WEAKEST = 0.25
"""Of the strongest peak: what is weaker is no pitch."""
_PADDED = 1 << 16
_MOST_HARMONICS = 8
_QUIET = 1e-3


def has_pitches(samples: npt.NDArray[np.floating], rate_hz: int, spans: Iterable[Span]) -> bool:
    """Whether in each span every pitch is there, and no other but their harmonics."""
    return all(
        _matches(peaks_hz(samples[int(span.from_s * rate_hz) : int(span.to_s * rate_hz)], rate_hz), span.pitches_hz)
        for span in spans
    )


def peaks_hz(samples: npt.NDArray[np.floating], rate_hz: int) -> list[float]:
    """The pitches of a sound between 150 and 1300 Hz, the strongest first; none where it is silent."""
    if len(samples) == 0 or float(np.abs(samples).max()) < _QUIET:
        return []
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), _PADDED))
    hz = np.fft.rfftfreq(_PADDED, 1 / rate_hz)
    spectrum[(hz < _LOWEST_HZ) | (hz > _HIGHEST_HZ)] = 0.0
    inner = spectrum[1:-1]
    tops = 1 + np.flatnonzero((inner > spectrum[:-2]) & (inner >= spectrum[2:]))
    strong = [top for top in tops if spectrum[top] >= _WEAKEST * spectrum.max()]
    strong.sort(key=lambda top: -spectrum[top])
    return [float(hz[top]) for top in strong]


def _matches(peaks: Sequence[float], asked: Sequence[float]) -> bool:
    def near(peak: float, pitch: float) -> bool:
        return abs(peak - pitch) <= TOLERANCE * pitch

    heard = all(any(near(peak, pitch) for peak in peaks) for pitch in asked)
    clean = all(
        any(near(peak, pitch * times) for pitch in asked for times in range(1, _MOST_HARMONICS)) for peak in peaks
    )
    return heard and clean
