"""Whether the words of the built-in voices can be understood, as Moonshine's smallest recogniser hears them.

It comes with its model in a wheel, for Linux on x86-64. It was made for people's voices: of the natural voice it
understands nearly every word (now and then it hears no speech at all), of a formant synthesiser three in four.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from typing import Any

import pytest

from models.audio import resample
from models.catalog import create_engine
from models.entry import ModelEntry
from models.tasks import Audio, SpeechJob
from tests.models.sounds import encoded, vowels

moonshine: Any = pytest.importorskip("moonshine_voice", reason="its recogniser comes for Linux on x86-64 only")

SENTENCES = (
    "Good morning to all of you.",
    "Please call me back tomorrow afternoon.",
    "The old man walked slowly down to the river.",
    "The weather is very nice today.",
    "My brother works in a hospital.",
    "The train to London leaves at noon.",
)
LEAST_UNDERSTOOD = {"espeak": 0.6, "kokoro_onnx": 0.8}
"""Of what each engine says."""
Hear = Callable[[Audio], list[str]]


@pytest.fixture(scope="module")
def hear() -> Iterator[Hear]:
    """The words of a sound."""
    with moonshine.Transcriber(str(moonshine.get_model_path("tiny-en")), moonshine.ModelArch.TINY) as recogniser:

        def heard(audio: Audio) -> list[str]:
            found = recogniser.transcribe_without_streaming(resample(audio, 16_000).samples.tolist(), 16_000)
            return words(" ".join(line.text for line in found.lines))

        yield heard


@pytest.fixture(scope="module", params=["kokoro_onnx", pytest.param("espeak", marks=pytest.mark.nightly)])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = create_engine(ModelEntry.model_validate({"engine": request.param, "checkpoint": "builtin:voice"}))
    made.load()
    yield made
    made.unload()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def understood(said: list[str], heard: list[str]) -> float:
    """The share of the words said that were heard, in their order."""
    return sum(block.size for block in SequenceMatcher(None, said, heard).get_matching_blocks()) / len(said)


@pytest.mark.parametrize(
    ("voice", "reference"),
    [(None, None), ("alloy", None), ("onyx", None), (None, vowels(85, 0.95)), (None, vowels(205, 1.15))],
    ids=["its own", "alloy", "onyx", "a deep recording", "a high recording"],
)
def test_most_words_are_understood_in_every_voice(
    engine: Any, hear: Hear, voice: str | None, reference: Audio | None
) -> None:
    recording = None if reference is None else encoded(reference)
    heard = [hear(engine.speak(SpeechJob(text, voice=voice, reference=recording))) for text in SENTENCES]
    shares = [understood(words(text), each) for text, each in zip(SENTENCES, heard, strict=True)]
    assert sum(shares) / len(shares) > LEAST_UNDERSTOOD[engine.entry.engine], heard


def test_what_is_not_said_is_not_understood(engine: Any, hear: Hear) -> None:
    said = hear(engine.speak(SpeechJob("She reads a book under the tree.")))
    assert understood(words("My brother works in a hospital."), said) < 0.3


def test_sentences_that_were_joined_are_understood_as_well_as_one(engine: Any, hear: Hear) -> None:
    together = hear(engine.speak(SpeechJob(" ".join(SENTENCES), voice="alloy")))
    assert understood(words(" ".join(SENTENCES)), together) > LEAST_UNDERSTOOD[engine.entry.engine]
