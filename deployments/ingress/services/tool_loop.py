"""Chats with tools that the server runs: the model calls, the server works, the model goes on with the result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol

from pydantic_core import from_json

from deployments.imaging import Partial, Progress
from deployments.ingress.errors import ApiError, invalid
from models.chat.calls import whole_calls
from models.errors import InvalidInput
from models.speech.audio_writing import AudioFormat
from models.tasks import CallDelta, ChatDelta, ChatJob, ImageJob, Message, TextPart, Tool, ToolCall, Usage

MAX_ROUNDS: Final = 4
"""Answers of the model to one request; the last one is words, since it is offered no tool of the server."""
MAX_CALLS: Final = 10
"""Calls in one answer that the server runs."""


@dataclass(frozen=True)
class ToolBegun:
    """The server begins with a call; `subject` is what is drawn, or spoken, in the words of the call."""

    call: ToolCall
    subject: str
    makes: Literal["picture", "speech"]


@dataclass(frozen=True)
class ToolProgress:
    """What comes of a call meanwhile."""

    call: ToolCall
    piece: Progress | Partial


@dataclass(frozen=True)
class DrawnPicture:
    """What a call of `generate_image` or `edit_image` has made: an encoded picture, and of which job."""

    call: ToolCall
    data: bytes
    format: str
    job: ImageJob


@dataclass(frozen=True)
class SpokenText:
    """What a call of `speak` has made: an encoded file."""

    call: ToolCall
    data: bytes
    format: AudioFormat
    text: str
    seconds: float


@dataclass(frozen=True)
class ToolFailed:
    """A call that asked for what cannot be; the model reads why, and may try again."""

    call: ToolCall
    error: ApiError


Made = DrawnPicture | SpokenText
ToolEvent = ToolBegun | ToolProgress | Made | ToolFailed
LoopEvent = ChatDelta | ToolEvent


class ServerTool(Protocol):
    """A tool that the server runs."""

    @property
    def tool(self) -> Tool:
        """As the model sees it."""

    def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        """Do what a call asks for; what was made comes last.

        Raises:
            ApiError: 400 where the arguments ask for what cannot be; whatever the work itself raises.
            InvalidInput: the model that works cannot do that.
        """

    def report(self, made: Made) -> str:
        """What the chat model reads of it."""


class _Answer:
    """One answer of the model: what the caller gets of it, and the calls that the server runs."""

    def __init__(self, own: Mapping[str, ServerTool], first_index: int) -> None:
        self._own, self._first_index = own, first_index
        self._pieces: list[CallDelta] = []
        self._passed: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self.text = ""
        self.last = ChatDelta("", "stop", Usage(0, 0))

    def take(self, delta: ChatDelta) -> ChatDelta | None:
        """What the caller gets of a piece of it: words, and calls of the caller's own tools."""
        passed = []
        for piece in delta.calls:
            name = self._names.setdefault(piece.index, piece.name or "")
            self._pieces.append(piece)
            if name not in self._own:
                index = self._passed.setdefault(piece.index, self._first_index + len(self._passed))
                passed.append(replace(piece, index=index))
        self.text += delta.text
        if delta.finish_reason is not None:
            self.last = delta
        if not (delta.text or passed or delta.logprobs):
            return None
        return replace(delta, calls=tuple(passed), finish_reason=None, usage=None)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The whole calls of the server's tools, in order."""
        return tuple(call for call in whole_calls(self._pieces) if call.name in self._own)

    def told(self, results: Sequence[Message]) -> list[Message]:
        """The answer with those of its calls that have results, and the results: what the model reads next."""
        if not results:
            return []
        ids = [result.call_id for result in results]
        said = (TextPart(self.text),) if self.text else ()
        return [Message("assistant", said, tuple(call for call in self.calls if call.id in ids)), *results]

    @property
    def passed(self) -> int:
        """How many calls are the caller's."""
        return len(self._passed)


Ask = Callable[[ChatJob], AsyncGenerator[ChatDelta, None]]
"""Has a chat model answer: `ChatCalls.stream`."""


async def converse(
    ask: Ask, job: ChatJob, tools: Sequence[ServerTool], rounds: int = MAX_ROUNDS
) -> AsyncGenerator[LoopEvent, None]:
    """The answer to a chat job whose model may call tools of the server, besides those of the job.

    Words and calls of the job's own tools come as they are written. A call of the server's tools is run, and its
    result put into the conversation, until the model answers in words, calls a tool of the caller's, or has been asked
    `rounds` times. The last event is the `ChatDelta` with `finish_reason`, and with the tokens of all rounds.
    `max_tokens` holds for each of the model's answers. A tool of the job goes before one of the server of the same
    name; `must_call` may name one of either, and holds for the first answer.

    Arguments that do not fit a tool are asked for once more, held by a grammar. Closing the generator ends what runs.

    Raises:
        ApiError: what `ask` raises; of tools, whatever is not the fault of a call's arguments.
    """
    theirs = {tool.name for tool in job.tools}
    own = {each.tool.name: each for each in tools if each.tool.name not in theirs}
    usage, passed = Usage(0, 0), 0
    job_now = replace(job, tools=(*job.tools, *(each.tool for each in own.values())))
    for left in reversed(range(rounds)):
        answer = _Answer(own, passed)
        asked = job_now if left else replace(job_now, tools=job.tools, must_call=())
        async with aclosing(ask(asked)) as pieces:
            async for piece in pieces:
                if (delta := answer.take(piece)) is not None:
                    yield delta
        usage, passed = _sum(usage, answer.last.usage), passed + answer.passed
        if not answer.calls or answer.last.finish_reason == "length":
            yield _end(answer, usage)
            return
        results: list[Message] = []
        held: tuple[str, ...] = ()
        for number, call in enumerate(answer.calls):
            tool = own[call.name]
            if number >= MAX_CALLS:
                results.append(_result(call, f"Error: not run; at most {MAX_CALLS} calls are run at once."))
                continue
            if (fits := _arguments(call, tool.tool)) is None and left and not job_now.must_call:
                held = (call.name,)
                continue
            async with aclosing(_run(tool, call, fits)) as events:
                async for event in events:
                    yield event
                    if isinstance(event, ToolFailed):
                        results.append(_result(call, f"Error: {event.error.message}"))
                    elif isinstance(event, DrawnPicture | SpokenText):
                        results.append(_result(call, tool.report(event)))
        if answer.passed:  # the caller has to go on
            yield _end(answer, usage)
            return
        job_now = replace(
            job_now,
            messages=(*job_now.messages, *answer.told(results)),
            must_call=held,
            calls_several=False if held else job.calls_several,
        )


async def _run(
    tool: ServerTool, call: ToolCall, arguments: Mapping[str, Any] | None
) -> AsyncGenerator[ToolEvent, None]:
    """What comes of a call; what its arguments are to blame for is an event."""
    try:
        if arguments is None:
            raise invalid(None, f"the arguments of {call.name} are not an object that fits its schema")
        async with aclosing(tool.run(call, arguments)) as events:
            async for event in events:
                yield event
    except InvalidInput as error:
        yield ToolFailed(call, invalid(error.param, error.message, error.code))
    except ApiError as error:
        if error.status != HTTPStatus.BAD_REQUEST or error.code == "cancelled":
            raise
        yield ToolFailed(call, error)


def _arguments(call: ToolCall, tool: Tool) -> dict[str, Any] | None:
    """The arguments of a call that its tool knows, by name; None where they do not fit the tool's schema."""
    try:
        given = from_json(call.arguments or "{}")  # refuses halves of characters, which nothing else can write
    except ValueError:
        return None
    properties = tool.parameters["properties"]
    if not isinstance(given, dict) or not set(tool.parameters["required"]) <= given.keys():
        return None
    known = {name: value for name, value in given.items() if name in properties}
    for name, value in known.items():
        if not isinstance(value, _KINDS[properties[name]["type"]]) or isinstance(value, bool) or value == "":
            return None
    return known


_KINDS: Final[Mapping[str, type]] = {"string": str, "integer": int}


def _result(call: ToolCall, words: str) -> Message:
    return Message("tool", (TextPart(words),), call_id=call.id)


def _sum(before: Usage, now: Usage | None) -> Usage:
    if now is None:
        return before
    return Usage(
        before.prompt_tokens + now.prompt_tokens,
        before.completion_tokens + now.completion_tokens,
        before.image_tokens + now.image_tokens,
    )


def _end(answer: _Answer, usage: Usage) -> ChatDelta:
    """The last piece: a caller whose tools were not called has nothing to do."""
    reason = answer.last.finish_reason
    if reason == "tool_calls" and not answer.passed:
        reason = "stop"
    return ChatDelta("", reason, usage, ignored=answer.last.ignored, stop=answer.last.stop)
