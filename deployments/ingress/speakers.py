"""Whose voice: recordings and names of voices into jobs for a model; and whose the stored voices are."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from starlette.requests import Request

from deployments.ingress.context import digest_of, given_key, is_among
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.schemas.speech import STOCK_VOICES
from models.catalog import engine_class
from models.errors import CheckpointError
from models.speech import SpeechEngine
from stores.errors import KeyNotFound
from stores.voices import Consent, StoredVoice, is_voice_id

logger = logging.getLogger("ray.serve")


async def reference_of(request: Request, alias: str, name: str) -> tuple[bytes, str | None] | None:
    """The sample of a stored voice and what is said in it; None for a voice that the model itself knows by name.

    Raises:
        ApiError: 400 `voice`; there is no such voice, or it is somebody else's.
    """
    known = () if is_voice_id(name) else known_voices(request, alias)
    if name in known:
        return None
    voices = request.app.state.atelier.voices
    stored = [voice for voice in await asyncio.to_thread(voices.voices) if may_use(request, voice)]
    found = next((voice for voice in stored if name in (voice.id, voice.name)), None)
    if found is not None:
        try:
            sample: bytes = await asyncio.to_thread(voices.sample, found)
        except KeyNotFound:
            found = None  # deleted just now
    if found is None:
        some = ", ".join([*known_voices(request, alias), *(voice.id for voice in stored[:20])])
        raise invalid("voice", f"voice: there is no voice {name!r}; there are {some}")
    logger.info("the voice %s of %s speaks in request %s", found.id, found.owner or "all", request.state.request_id)
    return sample, found.text


def known_voices(request: Request, alias: str) -> tuple[str, ...]:
    """The voices that a model knows by name, without waking it."""
    entry = request.app.state.atelier.models.entries[alias]
    try:
        return _speech_engine(entry).names(entry)
    except (CheckpointError, OSError, ValueError):  # the model's own request says what is wrong
        return STOCK_VOICES


def languages(request: Request, alias: str) -> tuple[str, ...]:
    """The languages that a model speaks, BCP 47."""
    entry = request.app.state.atelier.models.entries[alias]
    return _speech_engine(entry).spoken(entry)


def owner_of(request: Request) -> str:
    """Who calls, by a digest of their key that is kept with what they make; nobody while there are no keys."""
    settings = request.app.state.atelier.settings
    if not (settings.api_keys or settings.admin_keys):
        return ""
    return digest_of(given_key(request.headers))


def may_use(request: Request, thing: StoredVoice | Consent) -> bool:
    """Whether a stored voice or consent is the caller's: their own, an admin's, or one from before there were keys."""
    if thing.owner in ("", owner_of(request)):
        return True
    return is_among(given_key(request.headers), request.app.state.atelier.settings.admin_keys)


def renamed(error: ApiError, fields: dict[str, str]) -> ApiError:
    """The error with its field as the caller's route names it."""
    error.param = fields.get(error.param or "", error.param)
    return error


def _speech_engine(entry: Any) -> type[SpeechEngine[Any]]:
    found = engine_class(entry.engine)
    assert issubclass(found, SpeechEngine)
    return found
