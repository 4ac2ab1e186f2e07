"""Speech written down, as the OpenAI SDKs ask for it (docs/http-api.md, "Transcriptions")."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, Literal, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from deployments.executors import DECODING
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError, envelope, from_exception, renamed
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.responses.sse import EventStream, StartedStream, started
from deployments.ingress.schemas.transcriptions import Transcription, Translation
from deployments.ingress.services.transcripts import duration, gathered, spaced, srt, verbose, vtt
from models.tasks import TranscriptionJob, TranscriptPiece
from models.transcription.recording import MAX_BYTES, check_recording

router = APIRouter(prefix="/v1/audio", tags=["voice"])

_FIELD_OF: Final = {"recording": "file", "times_words": "timestamp_granularities", "translates": "model"}
"""What an engine calls by the job's names is called by the form's."""
_AUDIO_TOKENS_A_SECOND = 10
_CHARACTERS_A_TOKEN = 4

F = TypeVar("F", bound=Translation)


@router.post(
    "/transcriptions",
    summary="Write down what is said",
    openapi_extra=accepts(Transcription, json=False, forms=True),
)
async def transcriptions(request: Request, atelier: AtelierDep) -> Response:
    """What is said in a recording: as JSON, text or subtitles, or as server-sent events while it is heard."""
    params = await _read(request, Transcription)
    if len(params.languages) > 1 and params.language is None:
        body.note_ignored(request, "languages")  # a hint that no model here can be given
    if params.timestamp_granularities and params.response_format != "verbose_json":
        body.note_ignored(request, "timestamp_granularities")  # of segments, which this format does not show
    prompt = " ".join(part for part in (", ".join(params.keywords), params.prompt) if part)
    job = TranscriptionJob(
        params.file.data,
        params.spoken,
        prompt or None,
        params.temperature,
        times_words="word" in params.timestamp_granularities,
        detection=params.detection,
    )
    pieces = await _started(atelier, params, job)
    if params.stream:
        if pieces.first is not None:
            _note_ignored(request, params, pieces.first.ignored)
        return EventStream(_events(pieces, params.prompt or ""), pieces)
    return await _whole(request, params, pieces, job)


@router.post(
    "/translations",
    summary="Write down in English what is said in another language",
    openapi_extra=accepts(Translation, json=False, forms=True),
)
async def translations(request: Request, atelier: AtelierDep) -> Response:
    """The same in English, by a model that translates."""
    params = await _read(request, Translation)
    job = TranscriptionJob(params.file.data, None, params.prompt or None, params.temperature, translates=True)
    return await _whole(request, params, await _started(atelier, params, job), job)


async def _read(request: Request, fields: type[F]) -> F:
    """The body, whose file is a recording as far as its head tells.

    Raises:
        ApiError: as `body.read`; what is wrong with the recording names `file`.
    """
    try:
        params = await body.read(request, fields, max_bytes=MAX_BYTES)
    except ApiError as error:
        if error.code != "request_too_large":
            raise
        raise _too_large(error.status) from None
    if len(params.file.data) > MAX_BYTES:
        raise _too_large(413)
    await DECODING.run(check_recording, params.file.data, "file")
    return params


def _too_large(status: int) -> ApiError:
    message = f"file: more than {MAX_BYTES // 2**20} MiB; send the recording in parts, or packed as MP3 or Opus"
    return ApiError(status, message, code="file_too_large", param="file")


async def _started(atelier: Atelier, params: Translation, job: TranscriptionJob) -> StartedStream[TranscriptPiece]:
    alias = atelier.models.resolve(params.model, ["asr"])
    fields = dict(_FIELD_OF)
    if getattr(params, "language", None) is None:
        fields["language"] = "languages"
    return await started(_renamed(atelier.models.transcripts(alias).stream(job), fields))


async def _renamed(
    pieces: AsyncGenerator[TranscriptPiece, None], fields: Mapping[str, str]
) -> AsyncGenerator[TranscriptPiece, None]:
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    except ApiError as error:
        raise renamed(error, fields) from None


async def _whole(
    request: Request, params: Translation, pieces: StartedStream[TranscriptPiece], job: TranscriptionJob
) -> Response:
    try:
        transcript = await gathered(aiter(pieces))
    finally:  # the caller may leave while it is heard
        await pieces.aclose()
    _note_ignored(request, params, transcript.ignored)
    match params.response_format:
        case "text":
            return PlainTextResponse(f"{transcript.text}\n")
        case "srt":
            return PlainTextResponse(srt(transcript))
        case "vtt":
            return PlainTextResponse(vtt(transcript))
        case "verbose_json":
            task: Literal["transcribe", "translate"] = "translate" if job.translates else "transcribe"
            granularities = getattr(params, "timestamp_granularities", ())
            return JSONResponse(verbose(transcript, task, granularities, job.temperature))
        case "json" if job.translates:
            return JSONResponse({"text": transcript.text})
        case "json":
            return JSONResponse({"text": transcript.text, "usage": duration(transcript)})


def _note_ignored(request: Request, params: Translation, names: tuple[str, ...] | Any) -> None:
    """Name what the model could not take into account; `keywords` are part of its prompt."""
    for name in names:
        given = [each for each in ("prompt", "keywords") if getattr(params, each, None)] if name == "prompt" else [name]
        body.note_ignored(request, *given)


async def _events(pieces: StartedStream[TranscriptPiece], prompt: str) -> AsyncIterator[dict[str, str]]:
    said = ""
    seconds = 0.0
    try:
        async for piece in pieces:
            seconds = piece.seconds or 0.0
            for delta in spaced((segment.text for segment in piece.segments), said):
                said += delta
                yield {"data": json.dumps({"type": "transcript.text.delta", "delta": delta})}
    except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
        yield {"data": json.dumps(envelope(from_exception(error)))}
        return
    yield {"data": json.dumps({"type": "transcript.text.done", "text": said, "usage": _usage(said, seconds, prompt)})}


def _usage(said: str, seconds: float, prompt: str) -> dict[str, Any]:
    """OpenAI counts tokens here and nothing else; these are ten a second of sound, and one for four letters."""
    audio, text = round(seconds * _AUDIO_TOKENS_A_SECOND), -(-len(prompt) // _CHARACTERS_A_TOKEN)
    written = -(-len(said) // _CHARACTERS_A_TOKEN)
    return {
        "type": "tokens",
        "input_tokens": audio + text,
        "input_token_details": {"audio_tokens": audio, "text_tokens": text},
        "output_tokens": written,
        "total_tokens": audio + text + written,
    }
