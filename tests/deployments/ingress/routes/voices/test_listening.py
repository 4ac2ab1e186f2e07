"""What is said in the sample of a voice is written down, where a voice has a use for it and nobody told it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import serve

import settings as configuration
from bench.transcription import words
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store
from deployments.transcription import Transcription
from stores.voices import StoredVoice, Voices
from tests.deployments.ingress.routes.voices.speakers import client, voice
from tests.models.sounds import encoded, vowels
from tests.models.transcription.said import said

pytest.importorskip("moonshine_voice", reason="there are wheels for Linux, and for macOS 15 on Apple silicon")

LISTEN = {"engine": "moonshine", "checkpoint": "builtin:listen"}
CLONES_IN_CONTEXT = {"engine": "mlx_audio", "checkpoint": "org/qwen3-tts"}
"""Never loaded: making a voice asks no voice model."""
SAMPLE = encoded(said("The weather is very nice today."))


def make_app(home: Path, speaks: dict[str, str], listens: dict[str, str] | None = LISTEN) -> tuple[Any, Voices]:
    models = {"voice": speaks} | ({"listen": listens} if listens else {})
    args = {"models": models, "image_enabled": False, "image_search_enabled": False}
    settings = configuration.validate(args, {"ATELIER_HOME": str(home)})
    handles: dict[str, Any] = {"voice": None}
    if listens:
        bound = serve.deployment(Transcription).bind("listen", settings.models["listen"])
        handles["listen"] = serve.run(bound, name="listen", _local_testing_mode=True)
    store = open_store(settings)
    return create_app(Atelier(settings, ModelCalls(settings, handles), store, None)), Voices(store)


def kept(voices: Voices) -> StoredVoice:
    (found,) = voices.voices()
    return found


async def test_a_voice_without_words_gets_those_that_are_heard(tmp_path: Path) -> None:
    app, voices = make_app(tmp_path, CLONES_IN_CONTEXT)
    async with client(app) as http:
        await voice(http, sample=SAMPLE)
    assert "weather" in words(kept(voices).text or "")


async def test_words_that_were_given_stay(tmp_path: Path) -> None:
    app, voices = make_app(tmp_path, CLONES_IN_CONTEXT)
    async with client(app) as http:
        await voice(http, sample=SAMPLE, text="It is nice today.")
    assert kept(voices).text == "It is nice today."


async def test_a_language_that_the_model_does_not_know_is_not_guessed(tmp_path: Path) -> None:
    app, voices = make_app(tmp_path, CLONES_IN_CONTEXT)
    async with client(app) as http:
        asked = {"name": "Ann agrees", "language": "ko"}
        made = await http.post("/v1/audio/voice_consents", data=asked, files={"recording": SAMPLE})
        await voice(http, sample=SAMPLE, consent=made.json()["id"])
    assert kept(voices).text is None


@pytest.mark.parametrize(
    ("speaks", "listens"),
    [
        ({"engine": "espeak", "checkpoint": "builtin:voice"}, LISTEN),
        (CLONES_IN_CONTEXT, None),
    ],
    ids=["no voice uses words", "no model listens"],
)
async def test_a_voice_is_made_without_words_where_there_are_none(
    tmp_path: Path, speaks: dict[str, str], listens: dict[str, str] | None
) -> None:
    app, voices = make_app(tmp_path, speaks, listens)
    async with client(app) as http:
        await voice(http, sample=encoded(vowels(190)))
    assert kept(voices).text is None
