"""Chats in Anthropic's dialect, over the same models as chat completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import base64_room
from deployments.ingress.responses.sse import EventStream, started
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES
from deployments.ingress.schemas.messages import CountTokens, CreateMessage
from deployments.ingress.services.message_answers import PING, message, message_events, message_head
from deployments.ingress.services.message_jobs import counting_job, message_job
from deployments.ingress.services.tool_loop import LoopEvent
from models.tasks import ChatDelta, ChatJob

router = APIRouter(prefix="/v1/messages", tags=["chat"])


@router.post(
    "", summary="Answer in words, or call tools, for Anthropic's clients", openapi_extra=accepts(CreateMessage)
)
async def create(request: Request, atelier: AtelierDep) -> Response:
    """An answer about texts and pictures; what Claude would think first, no model thinks here."""
    params = await _read(request, atelier, CreateMessage)
    atelier.models.resolve(params.model, ["vlm"])
    job = await message_job(params, atelier.settings)
    offers = params.tool_choice is None or params.tool_choice.type != "none"
    head = message_head(request.state.request_id, params.model)
    pieces = _pieces(request, atelier, params.model, job, offers=offers)
    if not params.stream:
        async with aclosing(pieces):
            made = [piece async for piece in pieces]
        _note_ignored(request, made[0])
        return Response(await message(head, made), media_type="application/json")
    stream = await started(pieces)
    if stream.first is not None:
        _note_ignored(request, stream.first)
    events = message_events(head, aiter(stream), request.state.request_id)
    return EventStream(events, stream, ping=ServerSentEvent(PING["data"], event=PING["event"]))


@router.post("/count_tokens", summary="Count what a model would read", openapi_extra=accepts(CountTokens))
async def count_tokens(request: Request, atelier: AtelierDep) -> Response:
    """The tokens of messages, pictures and tools, as the model itself counts them: it reads them, and writes one."""
    params = await _read(request, atelier, CountTokens)
    alias = atelier.models.resolve(params.model, ["vlm"])
    answer = await atelier.models.chats(alias).answer(await counting_job(params, atelier.settings))
    return JSONResponse({"input_tokens": answer.usage.prompt_tokens})


async def _read(request: Request, atelier: Atelier, fields: type[body.F]) -> body.F:
    params = await body.read(request, fields, max_bytes=base64_room(atelier.settings, MAX_CHAT_IMAGES))
    thinking = getattr(params, "thinking", None)
    if thinking is not None and thinking.type != "disabled":
        body.note_ignored(request, "thinking")
    return params


def _note_ignored(request: Request, first: LoopEvent) -> None:
    if isinstance(first, ChatDelta):
        body.note_ignored(request, *first.ignored)


async def _pieces(
    request: Request, atelier: Atelier, model: str, job: ChatJob, *, offers: bool
) -> AsyncGenerator[LoopEvent, None]:
    """The answer as it is written, with what a model made of others draws and speaks meanwhile."""
    omni = atelier.models.find_omni(model)
    chats = atelier.models.chats(atelier.models.resolve(model, ["vlm"]))
    made = chats.stream(job) if omni is None or not offers else atelier.omnis.messages(request, omni, job)
    async with aclosing(made) as events:
        async for event in events:
            yield event
