"""A speaker as two numbers, pitch and build: heard in a recording, and given to any other speech (Praat, PSOLA).

Pitch is the median fundamental frequency. Build is the size of the vocal tract against that of a known speaker: a
shorter tract has the same resonances higher up, so that on a logarithmic frequency axis the long-term spectral envelope
is the known one, shifted. Comparing whole envelopes needs no formant tracker: the known speaker, made 20 % longer or
shorter, was found within 2 % whatever the text, language and pitch, and of other synthesisers' speakers three quarters
of such a change or more; the mean of Praat's formants 2 to 4 saw half of it.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from models.audio import resample
from models.errors import InvalidInput
from models.tasks import Audio

if TYPE_CHECKING:
    import parselmouth

PITCH_FLOOR, PITCH_CEILING = 50.0, 600.0  # Hz
_STANDARD_FLOOR = 75.0  # Praat's own
_MIN_VOICED_SECONDS = 0.2
_SHORTEST_SECONDS = 0.1  # below it Praat finds no period to move

_AIMS = 3
_NEAR_ENOUGH = 0.02

_ENVELOPE_RATE = 11_025
_FRAME, _FFT = 512, 1024
_LOWEST, _HIGHEST, _POINTS = 300.0, 5_000.0, 240
_SMOOTHING = 0.0018  # s of the cepstrum that are kept: resonances stay, harmonics go
_WIDEST_BUILD = 1.4
_SEED = 1
_LEAST_LIKENESS = 0.3
_DOUBT = 0.25  # how much likeness a build must gain to be believed, per squared log of it


_chance = threading.Lock()
"""Held from seeding Praat's one random generator to its use: what is unvoiced is shaped by chance."""


@dataclass(frozen=True)
class Envelope:
    """Long-term spectral envelope of voiced speech: log amplitudes at log-spaced frequencies, NaN where unknown."""

    levels: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class Speaker:
    """Median pitch in Hz, and resonances against the known speaker's: 1.2 = 20 % higher, a shorter vocal tract."""

    pitch: float
    build: float


def hear_speaker(audio: Audio, known: Envelope, param: str | None = None) -> Speaker:
    """The speaker of a recording; `known` is the envelope of the speaker of build 1.

    Raises:
        InvalidInput: no voice in it.
    """
    sound = _sound(audio)
    times, pitches = _voiced(sound)
    if len(pitches) * 0.01 < _MIN_VOICED_SECONDS:
        raise InvalidInput(
            "no voice can be heard in the recording; give some seconds of one person speaking aloud",
            param,
            "invalid_audio",
        )
    envelope = measure_envelope(audio, times)
    return Speaker(float(np.median(pitches)), _build(envelope, known))


def measure_envelope(audio: Audio, times: np.ndarray | None = None) -> Envelope:
    """The envelope of the voiced parts (`times` in s where they are known already)."""
    if times is None:
        times, _ = _voiced(_sound(audio))
    samples = resample(audio, _ENVELOPE_RATE).samples.astype(np.float64)
    starts = (times * _ENVELOPE_RATE).astype(int) - _FRAME // 2
    starts = starts[(starts >= 0) & (starts + _FRAME <= len(samples))]
    if not len(starts):
        return Envelope(np.full(_POINTS, np.nan))
    frames = samples[starts[:, None] + np.arange(_FRAME)] * np.hanning(_FRAME)
    levels = np.log(np.abs(np.fft.rfft(frames, _FFT)) + 1e-6).mean(axis=0)
    cepstrum = np.fft.irfft(levels)
    keep = int(_SMOOTHING * _ENVELOPE_RATE)
    cepstrum[keep : -keep + 1] = 0
    smooth = np.fft.rfft(cepstrum).real
    grid = np.geomspace(_LOWEST, _HIGHEST, _POINTS)
    found = np.interp(grid, np.fft.rfftfreq(_FFT, 1 / _ENVELOPE_RATE), smooth)
    found[grid > 0.45 * audio.rate] = np.nan  # a telephone's recording has nothing up there
    return Envelope(found)


def imitate(audio: Audio, speaker: Speaker, slower: float = 1.0) -> Audio:
    """The same words with this speaker's median pitch and build, `slower` times as long."""
    if median_pitch(audio) is None:
        return change_voice(audio, build=speaker.build, slower=slower)
    floor = _STANDARD_FLOOR if speaker.pitch > 1.05 * _STANDARD_FLOOR else PITCH_FLOOR
    found, nearest, aimed = audio, np.inf, speaker.pitch
    for _ in range(_AIMS):
        # Praat aims at the median of its own pulses; where the one that is heard differs, aim again.
        changed = change_voice(audio, aimed, speaker.build, slower)
        _, pitches = _track(_sound(changed), floor)
        missed_by = float(np.median(pitches)) / speaker.pitch if len(pitches) else 1.0
        if abs(missed_by - 1) < nearest:
            found, nearest = changed, abs(missed_by - 1)
        if nearest < _NEAR_ENOUGH:
            break
        aimed = float(np.clip(aimed / missed_by, PITCH_FLOOR, PITCH_CEILING))
    return found


def change_voice(audio: Audio, pitch: float = 0.0, build: float = 1.0, slower: float = 1.0) -> Audio:
    """Praat's "Change gender": new median pitch (Hz; 0 = as it is), resonances × `build`, duration × `slower`."""
    if (not pitch and build == slower == 1.0) or len(audio.samples) < audio.rate * _SHORTEST_SECONDS:
        return audio
    from parselmouth import PraatWarning
    from parselmouth.praat import call, run

    with _chance, warnings.catch_warnings():
        # of a whisper, which it changes as it should
        warnings.filterwarnings("ignore", "There were no voiced segments found", PraatWarning)
        run(f"random_initializeWithSeedUnsafelyButPredictably ({_SEED})")
        changed = call(_sound(audio), "Change gender", _STANDARD_FLOOR, PITCH_CEILING, build, pitch, 1.0, slower)
    samples = changed.values[0].astype(np.float32)
    return Audio(samples / max(1.0, float(np.abs(samples).max())), audio.rate)


def median_pitch(audio: Audio) -> float | None:
    """Hz over the voiced parts; None where nothing is voiced."""
    _, pitches = _voiced(_sound(audio))
    return float(np.median(pitches)) if len(pitches) else None


def _voiced(sound: parselmouth.Sound) -> tuple[np.ndarray, np.ndarray]:
    """Times and pitches of the voiced frames, 10 ms apart.

    Praat's standard range, as others measure; a lower one for a voice too deep for it, which shows by how much more of
    it the lower one hears.
    """
    times, pitches = _track(sound, _STANDARD_FLOOR)
    low_times, low_pitches = _track(sound, PITCH_FLOOR)
    return (low_times, low_pitches) if len(low_pitches) > 1.5 * len(pitches) else (times, pitches)


def _track(sound: parselmouth.Sound, floor: float) -> tuple[np.ndarray, np.ndarray]:
    if sound.duration < 3 / floor + 0.01:  # Praat wants three periods of the lowest pitch
        return np.empty(0), np.empty(0)
    track = sound.to_pitch(time_step=0.01, pitch_floor=floor, pitch_ceiling=PITCH_CEILING)
    pitches = track.selected_array["frequency"]
    return track.xs()[pitches > 0], pitches[pitches > 0]


def _build(heard: Envelope, known: Envelope) -> float:
    """The shift that lays one envelope best over the other; 1 where they cannot be compared."""
    step = np.log(_HIGHEST / _LOWEST) / (_POINTS - 1)
    reach = int(np.log(_WIDEST_BUILD) / step)
    shifts = range(-reach, reach + 1)
    likeness = np.array([_likeness(heard.levels, known.levels, shift) for shift in shifts])
    logs = np.array(shifts) * step
    best = int(np.argmax(likeness - _DOUBT * logs**2))
    return float(np.exp(logs[best])) if likeness[best] >= _LEAST_LIKENESS else 1.0


def _likeness(heard: np.ndarray, known: np.ndarray, shift: int) -> float:
    """Correlation of the envelopes where both are known.

    Tilt and bend are taken out first: they are the microphone's, the room's and the glottis', not the tract's.
    """
    ours = heard[max(shift, 0) : len(heard) + min(shift, 0)]
    theirs = known[max(-shift, 0) : len(known) + min(-shift, 0)]
    both = np.isfinite(ours) & np.isfinite(theirs)
    if both.sum() < _POINTS // 2:
        return -1.0
    positions = np.flatnonzero(both)
    ours, theirs = (line - np.polyval(np.polyfit(positions, line, 2), positions) for line in (ours[both], theirs[both]))
    scale = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / scale if scale else -1.0


def _sound(audio: Audio) -> parselmouth.Sound:
    import parselmouth

    return parselmouth.Sound(audio.samples.astype(np.float64), audio.rate)
