"""Speech in a given voice (API.md 3D)."""

from __future__ import annotations

from typing import get_args

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress import body
from deployments.ingress.docs import multipart
from deployments.ingress.errors import ApiError, invalid
from models.audio import MAX_BYTES, MEDIA_TYPES, AudioFormat
from models.tasks import SpeechJob

router = APIRouter(prefix="/v1/voice", tags=["voice"])

_FIELD_OF = {"reference": "ref_audio", "reference_text": "ref_text"}
"""What an engine calls by the job's names is called by the form's."""


class Spoken(body.Fields):
    """`POST /v1/voice/generate`."""

    text: str = Field(min_length=1, max_length=2000)
    ref_audio: body.Upload | None = None
    ref_text: str | None = Field(None, max_length=2000)
    language: str = Field("auto", max_length=40)
    response_format: AudioFormat = "mp3"
    voice: str | None = Field(None, max_length=100)


@router.post(
    "/generate",
    summary="Speak a text in the voice of a recording",
    openapi_extra=multipart(
        {"ref_audio": "a recording of the voice, 0.5 to 60 s"},
        {
            "text": "1 to 2000 characters; text in brackets is not spoken",
            "voice": "a configured voice, in place of ref_audio",
            "ref_text": "what is said in the recording",
            "language": "name or BCP 47, default auto",
            "response_format": f"one of {', '.join(get_args(AudioFormat))}",
        },
    ),
)
async def generate(request: Request) -> Response:
    """An audio file of the text, spoken as the speaker of the recording would."""
    asked = await body.read(request, Spoken, max_bytes=MAX_BYTES)
    roster = request.app.state.atelier.models
    alias = roster.resolve(None, ["voice"])
    if (asked.ref_audio is None) == (asked.voice is None):
        code = "missing_required_parameter" if asked.voice is None else "invalid_value"
        raise invalid("ref_audio", "exactly one of ref_audio and voice is needed", code)
    recording = asked.ref_audio.data if asked.ref_audio else None
    job = SpeechJob(asked.text, asked.language, recording, asked.ref_text, voice=asked.voice)
    try:
        data: bytes = await roster.call(alias, "speak", job, asked.response_format)
    except ApiError as error:
        error.param = _FIELD_OF.get(error.param or "", error.param)
        raise
    return Response(data, media_type=MEDIA_TYPES[asked.response_format])
