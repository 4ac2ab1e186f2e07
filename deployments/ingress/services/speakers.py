"""Voices by name: the sample of a stored voice, what models know, and who may use which."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from deployments.executors import FILES
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import invalid
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.schemas.speech import STOCK_VOICES
from models.catalog import engine_class
from models.entry import ModelEntry
from models.errors import CheckpointError
from models.speech.engine import SpeechEngine
from stores.errors import KeyNotFound
from stores.voices import Consent, StoredVoice, Voices, is_voice_id

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Reference:
    """A recording of the voice that is to speak, and what is said in it, where that is known."""

    sample: bytes
    text: str | None


class Speakers:
    """The voices that callers made and those that models know, by name."""

    def __init__(self, models: ModelCalls, voices: Voices) -> None:
        self._models = models
        self._voices = voices

    async def reference(self, request: Request, alias: str, name: str) -> Reference | None:
        """The sample of a stored voice; None for a voice that the model itself knows by name.

        Raises:
            ApiError: 400 `voice`; there is no such voice, or another caller owns it.
        """
        known = self.known(alias)
        if not is_voice_id(name) and name in known:
            return None
        found = await self._stored(request, name)
        if found is not None:
            try:
                sample = await FILES.run(self._voices.sample, found)
            except KeyNotFound:
                found = None  # deleted just now
        if found is None:
            stored = [voice.id for voice in await self.usable(request)]
            some = ", ".join([*known, *stored[:20]])
            raise invalid("voice", f"voice: there is no voice {name!r}; there are {some}")
        logger.info("the voice %s of %s speaks in request %s", found.id, found.owner or "all", request.state.request_id)
        return Reference(sample, found.text)

    async def usable(self, request: Request) -> list[StoredVoice]:
        """The stored voices that a caller may use, newest first."""
        return [voice for voice in await FILES.run(self._voices.voices) if may_use(request, voice)]

    async def _stored(self, request: Request, name: str) -> StoredVoice | None:
        """The voice of an id or a name; of those of one name that an admin may use, their own."""
        if is_voice_id(name):
            found = await FILES.run(self._voices.voice, name)
            return found if found is not None and may_use(request, found) else None
        named = [voice for voice in await self.usable(request) if voice.name == name]
        mine = caller_of(request).owner
        return min(named, key=lambda voice: voice.owner != mine, default=None)

    def known(self, alias: str) -> tuple[str, ...]:
        """The voices that a model knows by name, without waking it."""
        entry = self._models.entries[alias]
        try:
            return _speech_engine(entry).names(entry)
        except (CheckpointError, OSError, ValueError):  # the model's own request says what is wrong
            return STOCK_VOICES

    def languages(self, alias: str) -> tuple[str, ...]:
        """The languages that a model speaks, BCP 47."""
        entry = self._models.entries[alias]
        return _speech_engine(entry).spoken(entry)


def may_use(request: Request, thing: StoredVoice | Consent) -> bool:
    """Whether a stored voice or consent is the caller's: their own, an admin's, or one from before there were keys."""
    return caller_of(request).may_use(thing.owner)


def _speech_engine(entry: ModelEntry) -> type[SpeechEngine[Any]]:
    found = engine_class(entry.engine)
    assert issubclass(found, SpeechEngine)
    return found
