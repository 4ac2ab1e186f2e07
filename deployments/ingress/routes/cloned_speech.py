"""Speech in the voice of a recording (docs/http-api.md, "Speech"), sent back or kept in the store."""

from __future__ import annotations

import uuid
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError, invalid, renamed
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.schemas.speech import GeneratedVoice, StoredVoiceLine
from deployments.ingress.services.object_keys import voice_key
from deployments.ingress.services.retention import SPOKEN
from deployments.ingress.services.server_tools import MARK
from models.speech.audio import MAX_BYTES
from models.speech.audio_writing import MEDIA_TYPES, AudioFormat
from models.tasks import SpeechJob

router = APIRouter(prefix="/v1", tags=["voice"])

_FIELD_OF = {"reference": "ref_audio", "reference_text": "ref_text"}
"""What an engine calls by the job's names is called by the form's."""
_MAX_TEXT_BYTES = 100_000


@router.post(
    "/voice/generate",
    summary="Speak a text in the voice of a recording",
    openapi_extra=accepts(GeneratedVoice, json=False, forms=True),
)
async def generate(request: Request, atelier: AtelierDep) -> Response:
    """An audio file of the text, spoken as the speaker of the recording, or a stored or configured voice, would."""
    params = await body.read(request, GeneratedVoice, max_bytes=MAX_BYTES)
    if (params.ref_audio is None) == (params.voice is None):
        code = "missing_required_parameter" if params.voice is None else "invalid_value"
        raise invalid("ref_audio", "exactly one of ref_audio and voice is needed", code)
    if params.voice is not None and params.ref_text is not None:
        raise invalid("ref_text", "ref_text goes with ref_audio only")
    recording = params.ref_audio.data if params.ref_audio else None
    job = SpeechJob(params.text, params.language, recording, params.ref_text, voice=params.voice)
    data = await _spoken(request, atelier, job, params.response_format, _FIELD_OF)
    return Response(data, media_type=MEDIA_TYPES[params.response_format])


@router.post(
    "/r2/voice/generate", summary="Speak a text into the store", openapi_extra=accepts(StoredVoiceLine, forms=True)
)
async def generate_stored(request: Request, atelier: AtelierDep) -> Response:
    """An MP3 file of the text under a key, spoken as the speaker of a recording in the store, or a voice, would."""
    settings, objects = atelier.settings, atelier.objects
    params = await body.read(request, StoredVoiceLine)
    if params.key is None:
        key, write = f"{settings.voice_prefix}{SPOKEN}{uuid.uuid4()}.mp3", objects.write_new
    else:
        key, write = voice_key(params.key, settings), objects.write
        await objects.check_writable(request, key)
    job = SpeechJob(params.text, params.language, voice=params.voice)
    fields = {"reference": "ref_audio_key", "reference_text": "ref_text"}
    if params.ref_audio_key is not None:
        source = voice_key(params.ref_audio_key, settings, "ref_audio_key")
        recording = await objects.read(request, source, "ref_audio_key", MAX_BYTES)
        job = replace(job, reference=recording, reference_text=params.ref_text)
    elif params.user_id is not None:
        base = voice_key(f"{settings.voice_prefix}{params.user_id}", settings, "user_id")
        recording = await objects.read(request, f"{base}.mp3", "user_id", MAX_BYTES)
        text = _decoded(await objects.read(request, f"{base}.txt", "user_id", _MAX_TEXT_BYTES))
        job = replace(job, reference=recording, reference_text=text)
        fields = {"reference": "user_id", "reference_text": "user_id"}
    await write(request, key, await _spoken(request, atelier, job, "mp3", fields))
    return JSONResponse({"key": key})


async def _spoken(
    request: Request, atelier: Atelier, job: SpeechJob, audio_format: AudioFormat, fields: dict[str, str]
) -> bytes:
    """The job's words as a file. Raises as `ModelCalls.call` does, with fields named as in `fields`."""
    alias = atelier.models.resolve(None, ["voice"])
    if job.voice is not None and (reference := await atelier.speakers.reference(request, alias, job.voice)):
        job = replace(job, voice=None, reference=reference.sample, reference_text=reference.text)
        fields = {"reference": "voice", "reference_text": "voice"}
    mark = MARK if atelier.settings.voice_marked else None
    try:
        spoken = await atelier.models.voices(alias).speak(job, audio_format, mark)
    except ApiError as error:
        raise renamed(error, fields) from None
    return spoken.data


def _decoded(text: bytes) -> str:
    try:
        found = text.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        message = "the text beside the recording is not UTF-8"
        raise ApiError(502, message, code="R2_TEXT_DECODE_FAILED", param="user_id") from error
    if not found:
        raise ApiError(502, "the text beside the recording is empty", code="R2_TEXT_EMPTY", param="user_id")
    return found
