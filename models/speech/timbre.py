"""The timbre of speech as its long-term spectrum, and one speech in the timbre of another: an equaliser.

Pitch and build (`models.speech.speaker`) make a voice one of the same kind; this gives it the colour that a speaker's
mouth, microphone and room leave in every word. `bench.voices` says how much more alike it makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.audio import resample
from models.tasks import Audio

_RATE: Final = 24_000
_FRAME: Final = 1024
_LOWEST, _HIGHEST, _POINTS = 100.0, 8_000.0, 60
_SOUNDING: Final = 0.05
"""Of the loudest frame's energy; what is quieter is a pause."""
_SMOOTHED: Final = 7
"""Bins of 23 Hz that are averaged, so that harmonics go."""
_MOST_DB: Final = 12.0
_AUDIBLE: Final = 0.45
"""Of a recording's rate; nothing is known above."""


@dataclass(frozen=True)
class Timbre:
    """Levels in dB at 60 frequencies from 100 Hz to 8 kHz, spaced evenly on a logarithmic scale; NaN where unknown."""

    levels: np.ndarray = field(repr=False)


def hear_timbre(audio: Audio) -> Timbre:
    """The mean spectrum outside pauses; nothing is known of a recording that is too short or silent."""
    grid = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    samples = resample(audio, _RATE).samples.astype(np.float64)
    if len(samples) < _FRAME or not samples.any():
        return Timbre(np.full(_POINTS, np.nan))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[:: _FRAME // 4]
    powers = np.abs(np.fft.rfft(frames * np.hanning(_FRAME), axis=1)) ** 2
    energies = powers.sum(1)
    mean = powers[energies >= _SOUNDING * energies.max()].mean(0)
    smooth = np.convolve(10 * np.log10(mean + 1e-12), np.ones(_SMOOTHED) / _SMOOTHED, "same")
    levels = np.interp(grid, np.fft.rfftfreq(_FRAME, 1 / _RATE), smooth)
    levels[grid > _AUDIBLE * audio.rate] = np.nan
    return Timbre(levels)


def with_timbre(audio: Audio, timbre: Timbre) -> Audio:
    """The same speech in that timbre: by at most 12 dB at any frequency, as loud as it is on the whole."""
    differences = timbre.levels - hear_timbre(audio).levels
    if not np.isfinite(differences).any():
        return audio
    differences -= np.nanmedian(differences)
    edges = np.pad(np.nan_to_num(differences), 2, mode="edge")
    gains = np.clip(np.convolve(edges, np.ones(5) / 5, "valid"), -_MOST_DB, _MOST_DB)
    frequencies = np.fft.rfftfreq(len(audio.samples), 1 / audio.rate)
    factors = 10 ** (np.interp(frequencies, np.geomspace(_LOWEST, _HIGHEST, _POINTS), gains) / 20)
    changed = np.fft.irfft(np.fft.rfft(audio.samples) * factors, len(audio.samples)).astype(np.float32)
    return Audio(changed / max(1.0, float(np.abs(changed).max())), audio.rate)
