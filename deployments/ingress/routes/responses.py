"""The Responses API: answers that are kept, so that a request can go on from them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.executors import COMPUTING
from deployments.ingress.calls.kinds import ChatCalls
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.openapi import accepts, query
from deployments.ingress.policy import policy
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import base64_room
from deployments.ingress.responses.picture_json import PictureJson
from deployments.ingress.responses.sse import EventStream, StartedStream, started
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES
from deployments.ingress.schemas.responses import CreateResponse, ListItems, RetrieveResponse
from deployments.ingress.services.response_conversation import Conversation
from deployments.ingress.services.response_drawing import DrawingPlan, plan_drawing, uses_own_tools
from deployments.ingress.services.response_events import replayed
from deployments.ingress.services.response_jobs import (
    head_of,
    job_of,
    read_conversation,
    stored_input,
    unknown_includes,
)
from deployments.ingress.services.response_runs import (
    ResponseRun,
    at_once,
    fitting,
    in_terms_of_responses,
    until_cancelled,
)
from deployments.ingress.services.response_writer import ResponseWriter
from deployments.ingress.services.tool_loop import MAX_ROUNDS, LoopEvent, ServerTool, converse
from models.tasks import ChatDelta, ChatJob
from stores.responses import StoredResponse

router = APIRouter(prefix="/v1/responses", tags=["responses"])

_RETRIEVE: Final = {"parameters": query(RetrieveResponse)}
_LIST: Final = {"parameters": query(ListItems)}


@router.post("", summary="Answer in words, or call tools, and keep the answer", openapi_extra=accepts(CreateResponse))
async def create(request: Request, atelier: AtelierDep) -> Response:
    """An answer to all that was said: in this request, and in those that `previous_response_id` leads to.

    With the tool `image_generation` the answer may draw; a model made of others draws and speaks without it.
    """
    settings, runs = atelier.settings, atelier.response_runs
    params = await body.read(request, CreateResponse, max_bytes=base64_room(settings, MAX_CHAT_IMAGES))
    alias = atelier.models.resolve(params.model, ["vlm"])
    body.note_ignored(request, *unknown_includes(params))
    conversation, items = await read_conversation(
        params, caller_of(request), settings, atelier.files, atelier.stored_responses
    )
    omni = atelier.models.find_omni(params.model)
    if omni is not None:
        await conversation.rewrite(partial(atelier.omnis.recalled, request))
    plan = await plan_drawing(params, request, conversation, settings, atelier.models, atelier.jobs)
    job = await job_of(params, conversation, draws=plan is not None and plan.is_asked)
    speech = atelier.omnis.speech_tools(request, omni) if omni is not None and uses_own_tools(params) else []
    made = _pieces(params, atelier.models.chats(alias), job, conversation, plan, speech)
    pieces = in_terms_of_responses(atelier.omnis.with_links(request, made) if speech else made)
    head = head_of(params)
    kept = await COMPUTING.run(stored_input, params, items, conversation.fetched) if params.store else None
    writer = ResponseWriter(head, plan.looks if plan is not None else None)
    run = ResponseRun(caller_of(request).owner, head, writer, kept)
    if not params.stream:
        whole = await runs.whole(run, pieces)
        body.note_ignored(request, *run.writer.ignored)
        return _json(await whole.text())
    stream = await started(until_cancelled(run, pieces))
    if isinstance(first := stream.first, ChatDelta):  # a model that starts has said nothing yet
        body.note_ignored(request, *first.ignored)
    return EventStream(runs.events(run, stream), stream)


def _pieces(
    params: CreateResponse,
    chats: ChatCalls,
    job: ChatJob,
    conversation: Conversation,
    plan: DrawingPlan | None,
    speech: Sequence[ServerTool],
) -> AsyncGenerator[LoopEvent, None]:
    """What the response is made of, nothing of which has been begun."""
    if plan is not None and plan.is_forced:
        return plan.draw(conversation)
    ask = chats.stream if params.stream else at_once(chats)
    if params.truncation == "auto":
        ask = fitting(ask)
    drawing = plan.tools if plan is not None else []
    if not (drawing or speech):
        return ask(job)
    if plan is not None and plan.is_required:
        job = replace(job, must_call=(*job.must_call, *(each.tool.name for each in drawing)))
    rounds = MAX_ROUNDS if params.max_tool_calls is None else min(MAX_ROUNDS, params.max_tool_calls + 1)
    return converse(ask, job, [*drawing, *speech], rounds)


@router.get("/{response_id}", summary="A response", openapi_extra=_RETRIEVE)
async def retrieve(request: Request, atelier: AtelierDep, response_id: str) -> Response:
    """A response that was kept, or that is being made; of the first also its events."""
    params, caller = body.query(request, RetrieveResponse), caller_of(request)
    if params.starting_after is not None and not params.stream:
        raise invalid("starting_after", "starting_after: it needs stream=true")
    made = await atelier.response_runs.look(caller, response_id)
    if made is not None and not params.stream:
        return _json(made)
    if made is not None:
        raise invalid("stream", "stream: this response is still being made; its request has its events")
    found = await atelier.stored_responses.find(caller, response_id)
    if not params.stream:
        return _json(_text_of(found))
    response = await COMPUTING.run(json.loads, _text_of(found))
    stream = StartedStream(_those_after(params.starting_after, replayed(response, found.events - 1)))
    return EventStream(_sent(stream), stream)


@router.delete("/{response_id}", summary="Forget a response")
async def delete(request: Request, atelier: AtelierDep, response_id: str) -> dict[str, Any]:
    """Forget a response with its items; requests can go on neither from it nor from those after it.

    One that is streamed now is stopped, and never kept.
    """
    caller = caller_of(request)
    stopped = await atelier.response_runs.stop(caller, response_id, forget=True)
    try:
        await atelier.stored_responses.delete(caller, response_id)
    except ApiError as error:
        if stopped is None or error.status != HTTPStatus.NOT_FOUND:
            raise
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/{response_id}/cancel", summary="Stop a response")
@policy(is_repeatable=False, only_looks=True)
async def cancel(request: Request, atelier: AtelierDep, response_id: str) -> Response:
    """Stop a response that is streamed, which is not kept then; one that has ended is answered as it is."""
    caller = caller_of(request)
    stopped = await atelier.response_runs.stop(caller, response_id)
    if stopped is not None:
        return _json(stopped)
    return _json(_text_of(await atelier.stored_responses.find(caller, response_id)))


@router.get("/{response_id}/input_items", summary="What a response was made from", openapi_extra=_LIST)
async def input_items(request: Request, atelier: AtelierDep, response_id: str) -> Response:
    """The items that were sent with a request; what the responses before it had is listed with them."""
    params = body.query(request, ListItems)
    items = (await atelier.stored_responses.find(caller_of(request), response_id)).input
    if params.order == "desc":
        items.reverse()
    ids = [item.id for item in items]
    if params.after is not None and params.after not in ids:
        raise invalid("after", f"after: there is no item {params.after!r}")
    first = 0 if params.after is None else ids.index(params.after) + 1
    page = items[first : first + params.limit]
    ends = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
    fields = json.dumps({"object": "list", **ends, "has_more": first + len(page) < len(items)})
    return _json(_with_list(fields, "data", [item.body for item in page]))


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _text_of(stored: StoredResponse) -> str:
    return _with_list(stored.body, "output", [item.body for item in stored.output])


def _with_list(fields: str, name: str, items: list[str]) -> str:
    """JSON of an object with one more field, without reading what may be pictures of megabytes."""
    return f'{fields[:-1]}, "{name}": [{", ".join(items)}]}}'


async def _those_after(number: int | None, events: list[PictureJson]) -> AsyncGenerator[PictureJson, None]:
    for event in events:
        if number is None or event.value["sequence_number"] > number:
            yield event


async def _sent(events: AsyncIterable[PictureJson]) -> AsyncIterator[dict[str, str]]:
    async for event in events:
        # a kept picture is base64 already, of megabytes, which JSON looks through
        data = await COMPUTING.run(json.dumps, event.value, ensure_ascii=False)
        yield {"event": str(event.value["type"]), "data": data}
