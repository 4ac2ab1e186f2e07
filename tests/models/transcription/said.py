"""What the built-in voice says, as sound with silence around it, and how much of it is understood."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from models.audio import resample
from models.entry import ModelEntry
from models.speech.engines.espeak import EspeakEngine
from models.tasks import Audio, SpeechJob
from models.transcription.recording import RATE

SENTENCES = (
    "Good morning to all of you.",
    "Please call me back tomorrow afternoon.",
    "The old man walked slowly down to the river.",
    "The weather is very nice today.",
    "My brother works in a hospital.",
    "The train to London leaves at noon.",
)


@contextmanager
def speaking() -> Iterator[EspeakEngine]:
    """The built-in voice."""
    engine = EspeakEngine(ModelEntry.model_validate({"engine": "espeak", "checkpoint": "builtin:voice"}))
    engine.load()
    yield engine
    engine.unload()


@cache
def said(text: str) -> Audio:
    """A text in the built-in voice, at 16 kHz."""
    with speaking() as engine:
        return resample(engine.speak(SpeechJob(text)), RATE)


def silence(seconds: float) -> Audio:
    return Audio(np.zeros(round(seconds * RATE), np.float32), RATE)


def noise(seconds: float, level: float = 0.05) -> Audio:
    return Audio(np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32), RATE)
