"""Recordings made in code."""

from __future__ import annotations

import io
import math

import numpy as np
import soundfile

from models.tasks import Audio

_VOWELS = (
    (730, 1090, 2440, 3400),
    (300, 870, 2240, 3300),
    (530, 1840, 2480, 3500),
    (570, 840, 2410, 3400),
    (440, 1020, 2240, 3300),
)
"""First four formants, Hz (Peterson and Barney 1952, men)."""


def sine(hertz: float = 220.0, seconds: float = 2.0, level: float = 0.3, rate: int = 24_000) -> Audio:
    t = np.arange(int(seconds * rate)) / rate
    return Audio((level * np.sin(2 * np.pi * hertz * t)).astype(np.float32), rate)


def vowels(pitch: float, build: float = 1.0, seconds: float = 2.0, rate: int = 16_000) -> Audio:
    """A speaker of this pitch who says one vowel after the other; `build` moves the formants."""
    t = np.arange(int(seconds * rate)) / rate
    phase = np.cumsum(pitch * (1 + 0.06 * np.sin(2 * np.pi * 0.8 * t))) / rate
    said = np.zeros(len(t))
    length = int(0.25 * rate)
    for number, start in enumerate(range(0, len(t), length)):
        formants = _VOWELS[number % len(_VOWELS)]
        part = slice(start, start + length)
        for harmonic in range(1, int(0.45 * rate / pitch)):
            hertz = harmonic * pitch
            tract = math.prod(
                (f * build) ** 2 / abs(complex((f * build) ** 2 - hertz**2, hertz * (60 + 0.04 * f))) for f in formants
            )
            said[part] += tract / harmonic * np.sin(2 * np.pi * harmonic * phase[part])
        said[part] *= np.hanning(len(said[part])) ** 0.3
    return Audio((0.5 * said / np.abs(said).max()).astype(np.float32), rate)


def encoded(audio: Audio, container: str = "WAV", subtype: str | None = None, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    samples = np.repeat(audio.samples[:, None], channels, axis=1)
    soundfile.write(buffer, samples, audio.rate, format=container, subtype=subtype)
    return buffer.getvalue()


def praat_pitch(audio: Audio) -> float:
    """Median pitch as Praat gives it untold: 75 to 600 Hz."""
    import parselmouth

    pitches = parselmouth.Sound(audio.samples.astype(float), audio.rate).to_pitch().selected_array["frequency"]
    return float(np.median(pitches[pitches > 0]))


def praat_formants(audio: Audio) -> float:
    """Geometric mean of the median formants 3 and 4 of the voiced parts, Hz; 1 and 2 tell the vowels, not the tract."""
    import parselmouth

    sound = parselmouth.Sound(audio.samples.astype(float), audio.rate)
    track = sound.to_pitch(time_step=0.01)
    times = track.xs()[track.selected_array["frequency"] > 0]
    formants = sound.to_formant_burg(time_step=0.01, maximum_formant=5_000)
    third, fourth = (np.nanmedian([formants.get_value_at_time(n, t) for t in times]) for n in (3, 4))
    return math.sqrt(third * fourth)
