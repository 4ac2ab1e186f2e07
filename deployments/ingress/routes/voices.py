"""Voices that callers make of samples, and the consents that they rest on (docs/http-api.md, "Voices and consents")."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from deployments.executors import DECODING, FILES
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.openapi import accepts, query
from deployments.ingress.requests import body
from deployments.ingress.schemas.speech import STOCK_VOICES, ConsentName, ConsentRecording, NewVoice, Page
from deployments.ingress.services.speakers import may_use
from models.audio import suffix_of
from models.speech.audio import MAX_BYTES, read_audio
from models.speech.audio_writing import write_sample
from models.speech.text import LANGUAGES
from stores.errors import NameTaken, NotFound
from stores.voices import Consent, StoredVoice, Voices

logger = logging.getLogger("ray.serve")

router = APIRouter(prefix="/v1/audio", tags=["voice"])


@router.post(
    "/voice_consents", summary="Record a consent", openapi_extra=accepts(ConsentRecording, json=False, forms=True)
)
async def add_consent(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Somebody's recorded agreement that their voice may be used."""
    params = await body.read(request, ConsentRecording, max_bytes=MAX_BYTES)
    await DECODING.run(read_audio, params.recording.data, "recording")
    suffix, owner = suffix_of(params.recording.data), caller_of(request).owner
    language = params.language.replace("_", "-")
    consent = await FILES.run(atelier.voices.add_consent, params.name, language, params.recording.data, suffix, owner)
    logger.info("the consent %s was made by %s in request %s", consent.id, owner or "all", request.state.request_id)
    return _shown_consent(consent)


@router.get("/voice_consents", summary="The consents", openapi_extra={"parameters": query(Page)})
async def consents(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """The caller's consents, newest first, a page at a time."""
    params = body.query(request, Page)
    mine = [each for each in await FILES.run(atelier.voices.consents) if may_use(request, each)]
    if params.after is not None:
        ids = [each.id for each in mine]
        if params.after not in ids:
            raise invalid("after", f"after: there is no consent {params.after!r}")
        mine = mine[ids.index(params.after) + 1 :]
    page = [_shown_consent(each) for each in mine[: params.limit]]
    return {
        "object": "list",
        "data": page,
        "has_more": len(mine) > params.limit,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


@router.get("/voice_consents/{consent_id}", summary="One consent")
async def consent(request: Request, atelier: AtelierDep, consent_id: str) -> dict[str, Any]:
    """The consent of an id."""
    return _shown_consent(await _consent(request, atelier.voices, consent_id))


@router.post("/voice_consents/{consent_id}", summary="Rename a consent", openapi_extra=accepts(ConsentName, forms=True))
async def rename_consent(request: Request, atelier: AtelierDep, consent_id: str) -> dict[str, Any]:
    """The consent under its new name."""
    params = await body.read(request, ConsentName)
    found = await _consent(request, atelier.voices, consent_id)
    try:
        return _shown_consent(await FILES.run(atelier.voices.rename_consent, found, params.name))
    except NotFound:
        raise _not_there("voice consent", "consent_id", consent_id) from None


@router.delete("/voice_consents/{consent_id}", summary="Forget a consent")
async def remove_consent(request: Request, atelier: AtelierDep, consent_id: str) -> dict[str, Any]:
    """Forgets the consent and its recording. 409 while voices rest on it."""
    found = await _consent(request, atelier.voices, consent_id)
    await FILES.run(atelier.voices.remove_consent, found)
    logger.info("the consent %s was deleted in request %s", found.id, request.state.request_id)
    return {"id": found.id, "deleted": True, "object": "audio.voice_consent"}


@router.post("/voices", summary="Make a voice", openapi_extra=accepts(NewVoice, json=False, forms=True))
async def add_voice(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """A voice made of a sample, with the consent of its owner; its id works wherever a voice is named."""
    params = await body.read(request, NewVoice, max_bytes=MAX_BYTES)
    consent, sample = await _checked(request, atelier, params)
    owner = caller_of(request).owner
    text = params.text or await atelier.listener.words_of(sample, consent.language)
    try:
        voice = await FILES.run(atelier.voices.add_voice, params.name, consent, sample, text, owner)
    except NotFound:
        raise _no_consent(consent.id) from None
    except NameTaken:
        raise _name_taken(params.name) from None
    logger.info("the voice %s was made by %s in request %s", voice.id, owner or "all", request.state.request_id)
    return _shown_voice(voice)


@router.get("/voices", summary="The voices")
async def voices(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """All voices that the caller can name: stored ones, newest first, then those that the models know by name."""
    stored = await atelier.speakers.usable(request)
    models = atelier.models
    named = [
        {
            "id": name,
            "object": "audio.voice",
            "name": name,
            "created_at": 0,
            "type": "configured",
            "model": alias,
            "languages": [
                {"code": code, "name": LANGUAGES.get(code, (code,))[0]} for code in atelier.speakers.languages(alias)
            ],
        }
        for alias, entry in models.entries.items()
        if entry.kind == "voice"
        for name in atelier.speakers.known(alias)
    ]
    data = [_shown_voice(each) for each in stored] + named
    # Open WebUI reads `voices`
    brief = [{"id": each["id"], "name": each["name"]} for each in data]
    return {"object": "list", "data": data, "voices": brief}


@router.get("/voices/{voice_id}", summary="One voice")
async def voice(request: Request, atelier: AtelierDep, voice_id: str) -> dict[str, Any]:
    """The stored voice of an id."""
    return _shown_voice(await _voice(request, atelier.voices, voice_id))


@router.delete("/voices/{voice_id}", summary="Delete a voice")
async def remove_voice(request: Request, atelier: AtelierDep, voice_id: str) -> dict[str, Any]:
    """Deletes the voice and its sample."""
    found = await _voice(request, atelier.voices, voice_id)
    await FILES.run(atelier.voices.remove_voice, found)
    logger.info("the voice %s was deleted in request %s", found.id, request.state.request_id)
    return {"id": found.id, "deleted": True, "object": "audio.voice.deleted"}


async def _checked(request: Request, atelier: Atelier, params: NewVoice) -> tuple[Consent, bytes]:
    """The consent of a new voice, and its sample as it is kept.

    Raises:
        ApiError: 400 naming the field.
        InvalidInput: the sample is not a recording of a voice.
    """
    if params.type == "prompt" or params.prompt is not None:
        message = "voices are made of samples here, not of prompts; send audio_sample and consent"
        raise invalid("type" if params.type == "prompt" else "prompt", message, "unsupported_parameter")
    for name in ("model", "script_hint"):
        if getattr(params, name) is not None:
            raise invalid(name, f"{name} goes with voices made of prompts, which are not made here")
    for name in ("consent", "audio_sample"):
        if getattr(params, name) is None:
            raise invalid(name, f"{name} is required", "missing_required_parameter")
    assert params.consent is not None
    assert params.audio_sample is not None
    taken = {each.name for each in await atelier.speakers.usable(request)} | set(STOCK_VOICES)
    models = atelier.models
    for alias, entry in models.entries.items():
        taken |= set(atelier.speakers.known(alias)) if entry.kind == "voice" else set()
    if params.name in taken or params.name.startswith("voice_"):
        raise _name_taken(params.name)
    try:
        consent = await _consent(request, atelier.voices, params.consent)
    except ApiError:
        raise _no_consent(params.consent) from None
    return consent, await DECODING.run(write_sample, params.audio_sample.data, "audio_sample")


def _no_consent(name: str) -> ApiError:
    return invalid("consent", f"consent: there is no voice consent {name!r}")


def _name_taken(name: str) -> ApiError:
    return invalid("name", f"name: {name!r} names another voice already; choose another")


async def _consent(request: Request, voices: Voices, consent_id: str) -> Consent:
    found = await FILES.run(voices.consent, consent_id)
    if found is None or not may_use(request, found):
        raise _not_there("voice consent", "consent_id", consent_id)
    return found


async def _voice(request: Request, voices: Voices, voice_id: str) -> StoredVoice:
    found = await FILES.run(voices.voice, voice_id)
    if found is None or not may_use(request, found):
        raise _not_there("stored voice", "voice_id", voice_id)
    return found


def _not_there(what: str, param: str, given: str) -> ApiError:
    return ApiError(404, f"there is no {what} {given[:100]!r}", code="NOT_FOUND", param=param)


def _shown_consent(consent: Consent) -> dict[str, Any]:
    return {
        "id": consent.id,
        "object": "audio.voice_consent",
        "name": consent.name,
        "language": consent.language,
        "created_at": consent.created_at,
    }


def _shown_voice(voice: StoredVoice) -> dict[str, Any]:
    return {
        "id": voice.id,
        "object": "audio.voice",
        "name": voice.name,
        "created_at": voice.created_at,
        "type": "audio_sample",
        "consent": voice.consent,
    }
