"""Sentences made one even sound."""

from __future__ import annotations

import numpy as np
import pytest

from models.speech.sound import Joiner, faded, levelled, trimmed
from models.tasks import Audio
from tests.models.sounds import sine

RATE = 24_000


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def loudness(audio: Audio) -> float:
    return float(np.sqrt(np.square(audio.samples).mean()))


@pytest.mark.parametrize("level", [0.01, 0.1, 0.9])
def test_a_whisper_and_a_shout_come_out_equally_loud(level: float) -> None:
    assert loudness(levelled(sine(200, 1.0, level=level))) == pytest.approx(0.1, rel=0.02)


def test_pauses_within_a_sentence_do_not_make_it_louder() -> None:
    tone = sine(200, 1.0, level=0.05)
    with_pause = Audio(np.concatenate([tone.samples, silence(2), tone.samples]), RATE)
    assert np.abs(levelled(with_pause).samples).max() == pytest.approx(np.abs(levelled(tone).samples).max(), rel=0.02)


def test_a_peak_is_never_cut() -> None:
    tone = sine(200, 1.0, level=0.01)
    tone.samples[12_000] = 0.9
    made = levelled(tone)
    assert np.abs(made.samples).max() <= 0.97
    assert np.allclose(made.samples / tone.samples.max(), tone.samples * made.samples.max() / 0.9 / 0.9, atol=1e-3)


def test_silence_stays_silence() -> None:
    quiet = Audio(silence(1), RATE)
    assert np.array_equal(levelled(trimmed(quiet)).samples, quiet.samples)


def test_the_silence_around_a_sentence_goes_and_a_quiet_consonant_stays() -> None:
    vowel, consonant = sine(200, 0.5, level=0.5), sine(4000, 0.1, level=0.005)
    sentence = np.concatenate([silence(1), vowel.samples, consonant.samples, silence(2)])
    kept = trimmed(Audio(sentence, RATE))
    assert 0.6 <= kept.seconds <= 0.68


def test_sentences_join_with_a_pause_and_without_a_click() -> None:
    joiner = Joiner()
    parts = [joiner.add(sine(310, 1.003)) for _ in range(3)]
    joined = np.concatenate([part.samples for part in parts])
    largest_step_of_the_tone = 2 * np.pi * 310 / RATE * np.abs(joined).max()
    assert np.abs(np.diff(joined)).max() <= 1.01 * largest_step_of_the_tone
    assert np.abs(joined[[0, -1]]).max() == 0
    assert len(joined) / RATE == pytest.approx(3 * 1.003 + 2 * 0.3, abs=0.02)


def test_a_fast_speaker_pauses_for_a_shorter_time() -> None:
    joiner = Joiner(speed=2)
    joiner.add(sine())
    assert joiner.add(sine(seconds=1)).seconds == pytest.approx(1.15, abs=0.02)


def test_what_is_shorter_than_a_fade_is_faded_all_the_same() -> None:
    assert len(faded(Audio(np.ones(3, np.float32), RATE)).samples) == 3
    assert len(faded(Audio(np.empty(0, np.float32), RATE)).samples) == 0
