"""Sentences made one sound: even in loudness, without the silence around each, joined by pauses and without clicks."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.tasks import Audio

_LOUDNESS: Final = 0.1
"""RMS of what sounds: -20 dB below full scale, the usual level of speech for listening."""
_PEAK: Final = 0.97
_MAX_GAIN: Final = 30.0
_SOUNDING: Final = 10 ** (-30 / 20)
"""Of the loudest frame; what is quieter does not count towards the loudness."""
_SILENT: Final = 10 ** (-50 / 20)
"""Of the loudest frame; a final s is at some -35 dB."""
_FRAME_SECONDS: Final = 0.01
_MARGIN_SECONDS: Final = 0.03
_FADE_SECONDS: Final = 0.005
_PAUSE_SECONDS: Final = 0.3


class Joiner:
    """Makes each sentence ready to follow the one before; all of one rate."""

    def __init__(self, speed: float = 1.0) -> None:
        """`speed` is that of the speech: faster speakers pause for a shorter time."""
        self._pause = _PAUSE_SECONDS / speed
        self._is_first = True

    def add(self, sentence: Audio) -> Audio:
        """The sentence as it follows what was added before it."""
        ready = faded(levelled(trimmed(sentence)))
        if self._is_first:
            self._is_first = False
            return ready
        pause = np.zeros(round(self._pause * ready.rate), np.float32)
        return Audio(np.concatenate([pause, ready.samples]), ready.rate)


def trimmed(audio: Audio) -> Audio:
    """Without the silence at both ends, but for 30 ms of it; all of what is silent throughout."""
    levels, size = _levels(audio)
    sounding = np.flatnonzero(levels > _SILENT * levels.max(initial=0.0))
    if not len(sounding):
        return audio
    margin = round(_MARGIN_SECONDS * audio.rate)
    begin = max(0, int(sounding[0]) * size - margin)
    end = (int(sounding[-1]) + 1) * size + margin
    return Audio(audio.samples[begin:end], audio.rate)


def levelled(audio: Audio) -> Audio:
    """At -20 dB (RMS of what sounds), or as near to it as peaks and a gain of 30 dB allow."""
    levels, _ = _levels(audio)
    loudest = levels.max(initial=0.0)
    if loudest <= 0:
        return audio
    sounding = levels[levels > _SOUNDING * loudest]
    loudness = float(np.sqrt(np.square(sounding).mean()))
    peak = float(np.abs(audio.samples).max())
    gain = min(_LOUDNESS / loudness, _PEAK / peak, _MAX_GAIN)
    return Audio((audio.samples * gain).astype(np.float32), audio.rate)


def faded(audio: Audio) -> Audio:
    """From nothing and to nothing, in 5 ms each: whatever comes before and after, nothing clicks."""
    length = min(round(_FADE_SECONDS * audio.rate), len(audio.samples) // 2)
    if not length:
        return audio
    samples = audio.samples.copy()
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    samples[:length] *= ramp
    samples[-length:] *= ramp[::-1]
    return Audio(samples, audio.rate)


def _levels(audio: Audio) -> tuple[np.ndarray, int]:
    """The RMS of each frame of 10 ms, the last one filled up with silence; and how many samples a frame has."""
    size = max(1, round(_FRAME_SECONDS * audio.rate))
    padded = np.pad(audio.samples, (0, -len(audio.samples) % size))
    return np.sqrt(np.square(padded.reshape(-1, size)).mean(axis=1)), size
