"""Speech as the OpenAI SDKs ask for it (docs/http-api.md, "Speech")."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError, envelope, from_exception, renamed
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.responses.sse import ByteStream, EventStream, StartedStream, started
from deployments.ingress.schemas.speech import Speech
from deployments.ingress.services.server_tools import MARK
from deployments.voice import SpeechChunk
from models.speech.audio_writing import MEDIA_TYPES
from models.tasks import SpeechJob

router = APIRouter(prefix="/v1/audio", tags=["voice"])

_FIELD_OF = {"text": "input", "reference": "voice", "reference_text": "voice"}
"""What an engine calls by the job's names is called by the body's."""
_CHARACTERS_A_TOKEN = 4
_TOKENS_A_SECOND = 20


@router.post("/speech", summary="Speak a text", openapi_extra=accepts(Speech))
async def speech(request: Request, atelier: AtelierDep) -> Response:
    """The spoken text as it is made, sentence by sentence; or as server-sent events.

    FLAC comes whole, since common readers refuse a header without its length.
    """
    params = await body.read(request, Speech)
    if params.instructions:  # voice clients send them with every request, whatever the voice
        body.note_ignored(request, "instructions")
    alias = atelier.models.resolve(params.model, ["voice"])
    job = SpeechJob(params.input, params.language, speed=params.speed, voice=params.voice_name, is_literal=True)
    if reference := await atelier.speakers.reference(request, alias, params.voice_name):
        job = replace(job, voice=None, reference=reference.sample, reference_text=reference.text)
    mark = MARK if atelier.settings.voice_marked else None
    parts = _renamed(atelier.models.voices(alias).stream(job, params.response_format, mark))
    stream = await started(parts)
    if params.stream_format == "sse":
        return EventStream(_events(params.input, stream), stream)
    await stream.wait()  # a refusal must still become a status, however long the model takes to start
    return ByteStream(_bytes(stream), stream, MEDIA_TYPES[params.response_format])


async def _renamed(parts: AsyncGenerator[SpeechChunk, None]) -> AsyncGenerator[SpeechChunk, None]:
    try:
        async with aclosing(parts):
            async for part in parts:
                yield part
    except ApiError as error:
        raise renamed(error, _FIELD_OF) from None


async def _bytes(parts: StartedStream[SpeechChunk]) -> AsyncIterator[bytes]:
    async for part in parts:
        if part.data:
            yield part.data


async def _events(text: str, parts: StartedStream[SpeechChunk]) -> AsyncIterator[dict[str, str]]:
    seconds = 0.0
    try:
        async for part in parts:
            seconds += part.seconds
            if part.data:
                delta = {"type": "speech.audio.delta", "audio": base64.b64encode(part.data).decode()}
                yield {"data": json.dumps(delta)}
    except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
        yield {"data": json.dumps(envelope(from_exception(error)))}
        return
    read, spoken = -(-len(text) // _CHARACTERS_A_TOKEN), round(seconds * _TOKENS_A_SECOND)
    usage = {"input_tokens": read, "output_tokens": spoken, "total_tokens": read + spoken}
    yield {"data": json.dumps({"type": "speech.audio.done", "usage": usage})}
