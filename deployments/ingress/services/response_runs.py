"""Responses in the making: from a model's pieces to events, to a whole response, and into the store.

Whatever ends one, a failure, its caller or `cancel`, ends the model's work with it. Only what has ended well is kept,
before its last event is sent: who has read that can go on from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from deployments.ingress.calls.kinds import ChatCalls
from deployments.ingress.errors import ApiError, from_exception, renamed
from deployments.ingress.middleware.access import Caller
from deployments.ingress.responses.picture_json import PictureJson
from deployments.ingress.responses.sse import StartedStream
from deployments.ingress.services.jobs import unless_set
from deployments.ingress.services.response_jobs import FIELDS
from deployments.ingress.services.response_writer import ResponseWriter
from deployments.ingress.services.stored_responses import StoredResponses
from deployments.ingress.services.tool_loop import Ask, LoopEvent
from models.errors import ModelError
from models.tasks import CallDelta, ChatDelta, ChatJob
from stores.responses import StoredItem, StoredResponse

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
"""For the end of a response that was stopped: one whose client does not read ends when that reads again, or leaves."""


@dataclass
class ResponseRun:
    """One response in the making, of one owner; `stored_input` is what is kept of its input, None where nothing is."""

    owner: str
    head: dict[str, Any]
    writer: ResponseWriter
    stored_input: Sequence[StoredItem] | None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def id(self) -> str:
        """The response's."""
        return str(self.head["id"])


class ResponseRuns:
    """The responses that are streamed now, which their ids are known of, and what is done with them all."""

    def __init__(self, stored: StoredResponses) -> None:
        self._stored = stored
        self._running: dict[str, ResponseRun] = {}

    async def look(self, caller: Caller, response_id: str) -> str | None:
        """The JSON of the caller's response of this id, or of any for an admin, as far as it is made; None: of none."""
        run = self._found(caller, response_id)
        return None if run is None else await run.writer.whole().text()

    async def stop(self, caller: Caller, response_id: str, *, forget: bool = False) -> str | None:
        """Have it end as cancelled, unless it is ending by itself; its JSON once it has, or soon. None: of none.

        forget: it is not kept, however it ends.
        """
        run = self._found(caller, response_id)
        return None if run is None else await self._stop(run, forget=forget)

    def _found(self, caller: Caller, response_id: str) -> ResponseRun | None:
        run = self._running.get(response_id)
        return run if run is not None and caller.may_use(run.owner) else None

    async def _stop(self, run: ResponseRun, *, forget: bool) -> str:
        if forget:
            run.stored_input = None
        run.cancelled.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await run.ended.wait()
        return await run.writer.whole().text()

    async def _announce(self, run: ResponseRun) -> None:
        """Let others know of a response that begins."""

    def _tell_end(self, run: ResponseRun) -> None:
        """Let others know that it has ended."""

    async def whole(self, run: ResponseRun, pieces: AsyncGenerator[LoopEvent, None]) -> PictureJson:
        """The response, once its last piece has come. Raises what the pieces raise."""
        run.writer.begin()
        async with aclosing(pieces):
            async for piece in pieces:
                run.writer.take(piece)
        run.writer.finish()
        await self._keep(run)
        ended = run.writer.end()
        return PictureJson(ended.value["response"], ended.pictures)

    async def events(self, run: ResponseRun, pieces: StartedStream[LoopEvent]) -> AsyncIterator[dict[str, str]]:
        """Its events as server-sent ones; a failure is the last one, since the status has been sent."""
        self._running[run.id] = run
        try:
            await self._announce(run)
            for event in run.writer.begin():
                yield await _sent(event)
            try:
                async for piece in pieces:
                    for event in run.writer.take(piece):
                        yield await _sent(event)
                run.writer.finish()
                await self._keep(run)
                last = run.writer.end()
            except Exception as error:  # noqa: BLE001 - whatever it is, the client waits for a last event
                last = run.writer.fail(from_exception(error))
            yield await _sent(last)
        finally:
            self._running.pop(run.id, None)
            run.ended.set()
            self._tell_end(run)

    async def _keep(self, run: ResponseRun) -> None:
        if run.stored_input is None:
            return
        items = (*run.stored_input, *await run.writer.stored_output())
        previous = run.head["previous_response_id"]
        body, events = await run.writer.body(), run.writer.count + 1  # the last one is sent once this is kept
        await self._stored.keep(StoredResponse(run.id, run.owner, previous, body, events, items))


async def until_cancelled(run: ResponseRun, pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The pieces, until somebody cancels the response. Raises ApiError 400 `cancelled` then."""
    async with aclosing(pieces):
        with suppress(StopAsyncIteration):
            while True:
                yield await unless_set(run.cancelled, lambda: anext(pieces), _cancelled)


async def in_terms_of_responses(pieces: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The pieces; errors name the fields of this API, not those of chats."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece
    except (ApiError, ModelError) as error:
        raise renamed(from_exception(error), FIELDS) from error


def at_once(chats: ChatCalls) -> Ask:
    """Asks for answers that come whole, as one piece."""

    async def asked(job: ChatJob) -> AsyncGenerator[ChatDelta, None]:
        answer = await chats.answer(job)
        calls = tuple(CallDelta(i, call.arguments, call.id, call.name) for i, call in enumerate(answer.calls))
        yield ChatDelta(answer.text, answer.finish_reason, answer.usage, answer.logprobs, calls, answer.ignored)

    return asked


def fitting(ask: Ask) -> Ask:
    """Asks with the oldest messages left out where the model does not hold all; instructions and the last one stay."""

    async def asked(job: ChatJob) -> AsyncGenerator[ChatDelta, None]:
        while True:
            try:
                async with aclosing(ask(job)) as pieces:
                    async for piece in pieces:
                        yield piece
                return
            except (ApiError, ModelError) as error:
                shorter = _shortened(job)
                if from_exception(error).code != "context_length_exceeded" or shorter is None:
                    raise
                job = shorter

    return asked


def _shortened(job: ChatJob) -> ChatJob | None:
    """The job without the older half of what may be left out; None where nothing may.

    A result without its call would be a riddle, so what is left begins with neither.
    """
    kept = [message for message in job.messages if message.role == "system"]
    said = [message for message in job.messages if message.role != "system"]
    rest = said[max(1, len(said) // 2) :]
    while rest and rest[0].role in ("tool", "assistant"):
        rest = rest[1:]
    return replace(job, messages=(*kept, *rest)) if rest else None


def _cancelled() -> ApiError:
    return ApiError(400, "the response was cancelled by POST /v1/responses/…/cancel", code="cancelled")


async def _sent(event: PictureJson) -> dict[str, str]:
    return {"event": str(event.value["type"]), "data": await event.text()}
