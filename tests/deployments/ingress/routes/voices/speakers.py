"""The app with a voice, and its clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from ray import serve

import settings as configuration
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store
from deployments.voice import Voice
from models.speech.audio import read_audio
from stores.objects import PublicStore
from tests.models.sounds import encoded, praat_pitch, vowels

ARGS = {
    "models": {"voice": {"engine": "espeak", "checkpoint": "builtin:voice"}},
    "image_enabled": False,
    "image_search_enabled": False,
}


KEYS = {"ATELIER_API_KEYS": "ann-key,bob-key", "ATELIER_ADMIN_KEYS": "root-key"}
SAMPLE = encoded(vowels(190))


def make_app(home: Path, environ: dict[str, str] | None = None) -> tuple[Any, PublicStore]:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(home), **(environ or {})})
    handle = serve.run(
        serve.deployment(Voice).bind("voice", settings.models["voice"]), name="voice", _local_testing_mode=True
    )
    store = open_store(settings)
    return create_app(Atelier(settings, ModelCalls(settings, {"voice": handle}), store, None)), store


def client(app: Any, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", headers=headers)


async def consent(http: httpx.AsyncClient, name: str = "Ann agrees") -> dict[str, Any]:
    answer = await http.post(
        "/v1/audio/voice_consents", data={"name": name, "language": "en-US"}, files={"recording": SAMPLE}
    )
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


async def voice(http: httpx.AsyncClient, name: str = "Ann", sample: bytes = SAMPLE, **fields: str) -> dict[str, Any]:
    given = fields.pop("consent", None) or (await consent(http))["id"]
    answer = await http.post(
        "/v1/audio/voices", data={"name": name, "consent": given, **fields}, files={"audio_sample": sample}
    )
    made: dict[str, Any] = answer.raise_for_status().json()
    return made


def pitch(data: bytes) -> float:
    return praat_pitch(read_audio(data))
