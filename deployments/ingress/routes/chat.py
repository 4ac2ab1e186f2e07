"""Chat completions, whole and streamed, with pictures and tools."""

from __future__ import annotations

import time
import uuid

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import base64_room
from deployments.ingress.responses.sse import EventStream, started
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES, ChatCompletion
from deployments.ingress.services.chat_answers import chunks, completion
from deployments.ingress.services.chat_jobs import jobs_of

router = APIRouter(prefix="/v1", tags=["chat"])


@router.post("/chat/completions", summary="Answer in words, or call tools", openapi_extra=accepts(ChatCompletion))
async def completions(request: Request, atelier: AtelierDep) -> Response:
    """An answer about texts and pictures; all pictures of all messages reach the model in order."""
    settings, models = atelier.settings, atelier.models
    params = await body.read(request, ChatCompletion, max_bytes=base64_room(settings, MAX_CHAT_IMAGES))
    alias = models.resolve(params.model, ["vlm"])
    omni = models.find_omni(params.model)
    offers = params.tool_choice != "none"
    chats = models.chats(alias) if omni is None else atelier.omnis.chats(request, omni, offers=offers)
    jobs = await jobs_of(params, settings)
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": params.model}
    if not params.stream:
        answers = await chats.answer_each(jobs)
        body.note_ignored(request, *answers[0].ignored)
        return JSONResponse(completion(head, answers, with_logprobs=params.logprobs))
    with_usage = params.stream_options is not None and params.stream_options.include_usage
    stream = await started(chats.stream_each(jobs))
    if (first := stream.first) is not None:  # a model that starts has said nothing yet
        body.note_ignored(request, *first[1].ignored)
    return EventStream(chunks(head, stream, len(jobs), with_usage=with_usage), stream)
