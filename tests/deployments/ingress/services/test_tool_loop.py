"""Chats with tools that the server runs: rounds, results, mistakes, whose calls are whose."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Any

import pytest

from deployments.imaging import Progress
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.services.tool_loop import (
    MAX_ROUNDS,
    DrawnPicture,
    LoopEvent,
    Made,
    ToolBegun,
    ToolFailed,
    ToolProgress,
    converse,
)
from models.tasks import CallDelta, ChatDelta, ChatJob, ImageJob, Message, TextPart, Tool, ToolCall, Usage

_PARAMETERS = {"type": "object", "properties": {"prompt": {"type": "string"}}, "required": ["prompt"]}


class Painter:
    """A tool that draws nothing, at once; it refuses what it is to refuse."""

    tool = Tool("generate_image", "Draw", _PARAMETERS)

    def __init__(self) -> None:
        self.is_closed = False

    async def run(
        self, call: ToolCall, arguments: Mapping[str, Any]
    ) -> AsyncGenerator[ToolBegun | ToolProgress | Made, None]:
        prompt = arguments["prompt"]
        if prompt == "a blank":
            raise invalid("prompt", "prompt: nothing to draw")
        if prompt == "too much":
            raise ApiError(429, "too many requests are waiting", code="rate_limit_exceeded")
        try:
            yield ToolBegun(call, prompt, "picture")
            yield ToolProgress(call, Progress(1, 2))
            yield DrawnPicture(call, b"picture", "png", ImageJob(prompt, 64, 64, 1, 1.0, seed=1))
        finally:
            self.is_closed = True

    def report(self, made: Made) -> str:
        assert isinstance(made, DrawnPicture)
        return f"drawn: {made.job.prompt}"


class Model:
    """Says what it is to say, answer by answer, and remembers what it was asked."""

    def __init__(self, *answers: Sequence[ChatDelta]) -> None:
        self._answers = iter(answers)
        self.asked: list[ChatJob] = []

    async def __call__(self, job: ChatJob) -> AsyncGenerator[ChatDelta, None]:
        self.asked.append(job)
        for delta in next(self._answers):
            yield delta


def says(text: str) -> list[ChatDelta]:
    return [ChatDelta(text), ChatDelta("", "stop", Usage(10, 2))]


def calls(*made: tuple[str, str], end: Any = "tool_calls") -> list[ChatDelta]:
    def pieces() -> Iterator[ChatDelta]:
        for index, (name, arguments) in enumerate(made):
            yield ChatDelta("", calls=(CallDelta(index, "", f"call-{index}", name),))
            yield ChatDelta("", calls=(CallDelta(index, arguments),))
        yield ChatDelta("", end, Usage(10, 5))

    return list(pieces())


def draws(prompt: str) -> tuple[str, str]:
    return "generate_image", json.dumps({"prompt": prompt})


def job(**given: Any) -> ChatJob:
    return ChatJob((Message("user", (TextPart("draw a cat"),)),), **given)


async def events_of(model: Model, asked: ChatJob, painter: Painter | None = None) -> list[LoopEvent]:
    return [event async for event in converse(model, asked, [painter or Painter()])]


async def test_what_is_drawn_is_put_into_the_conversation_and_the_model_goes_on() -> None:
    model = Model(calls(draws("a cat")), says("Here it is."))
    events = await events_of(model, job())
    assert [type(event).__name__ for event in events] == [
        "ToolBegun",
        "ToolProgress",
        "DrawnPicture",
        "ChatDelta",
        "ChatDelta",
    ]
    assert events[-1] == ChatDelta("", "stop", Usage(20, 7))
    first, second = model.asked
    assert [tool.name for tool in first.tools] == ["generate_image"]
    assistant, result = second.messages[-2:]
    assert (assistant.role, [call.name for call in assistant.calls]) == ("assistant", ["generate_image"])
    assert (result.role, result.call_id, result.parts) == ("tool", "call-0", (TextPart("drawn: a cat"),))


async def test_words_alone_are_the_answer_of_one_round() -> None:
    model = Model(says("Cats purr."))
    assert await events_of(model, job()) == [ChatDelta("Cats purr."), ChatDelta("", "stop", Usage(10, 2))]
    assert len(model.asked) == 1


async def test_a_model_that_never_stops_drawing_is_offered_no_tool_in_the_last_round() -> None:
    rounds = [calls(draws(f"cat {i}")) for i in range(MAX_ROUNDS - 1)]
    model = Model(*rounds, says("That is all."))
    events = await events_of(model, job())
    assert sum(isinstance(event, DrawnPicture) for event in events) == MAX_ROUNDS - 1
    assert [bool(asked.tools) for asked in model.asked] == [True] * (MAX_ROUNDS - 1) + [False]


@pytest.mark.parametrize("arguments", ["{", "[]", "{}", '{"prompt": 3}', '{"prompt": ""}', '{"prompt": true}'])
async def test_arguments_that_do_not_fit_are_asked_for_again_by_a_grammar(arguments: str) -> None:
    model = Model(calls(("generate_image", arguments)), calls(draws("a cat")), says("Here."))
    events = await events_of(model, job())
    assert [event.job.prompt for event in events if isinstance(event, DrawnPicture)] == ["a cat"]
    assert [asked.must_call for asked in model.asked] == [(), ("generate_image",), ()]
    assert model.asked[1].messages == model.asked[0].messages  # the bad call is nothing to go on from


async def test_the_model_reads_which_arguments_no_grammar_helps() -> None:
    model = Model(calls(("generate_image", "{")), calls(("generate_image", "{")), says("I cannot."))
    events = await events_of(model, job())
    assert [type(event) for event in events[:-2]] == [ToolFailed]
    assert "Error: the arguments of generate_image" in str(model.asked[-1].messages[-1])


async def test_the_model_reads_what_a_call_is_to_blame_for() -> None:
    model = Model(calls(draws("a blank")), says("I cannot."))
    events = await events_of(model, job())
    failed = events[0]
    assert isinstance(failed, ToolFailed)
    assert failed.error.message == "prompt: nothing to draw"
    assert "Error: prompt: nothing to draw" in str(model.asked[-1].messages[-1])


async def test_what_no_call_is_to_blame_for_ends_the_answer() -> None:
    with pytest.raises(ApiError, match="too many requests are waiting"):
        await events_of(Model(calls(draws("too much"))), job())


async def test_calls_of_the_callers_tools_reach_the_caller_and_end_the_answer() -> None:
    weather = Tool("weather", None, {"type": "object", "properties": {}})
    model = Model(calls(draws("a cat"), ("weather", "{}")))
    events = await events_of(model, job(tools=(weather,)))
    passed = [piece for event in events if isinstance(event, ChatDelta) for piece in event.calls]
    assert [(piece.index, piece.name) for piece in passed] == [(0, "weather"), (0, None)]
    assert any(isinstance(event, DrawnPicture) for event in events)
    assert isinstance(events[-1], ChatDelta)
    assert events[-1].finish_reason == "tool_calls"


async def test_a_callers_tool_of_the_same_name_is_the_callers() -> None:
    theirs = Tool("generate_image", None, {"type": "object", "properties": {}})
    model = Model(calls(draws("a cat")))
    events = await events_of(model, job(tools=(theirs,)))
    assert model.asked[0].tools == (theirs,)
    assert not any(isinstance(event, DrawnPicture) for event in events)


async def test_a_call_that_the_tokens_did_not_suffice_for_is_not_run() -> None:
    events = await events_of(Model(calls(("generate_image", '{"prompt": "a c'), end="length")), job())
    assert events == [ChatDelta("", "length", Usage(10, 5))]


async def test_a_caller_who_leaves_ends_the_work() -> None:
    painter = Painter()
    events = converse(Model(calls(draws("a cat"))), job(), [painter])
    assert isinstance(await anext(events), ToolBegun)
    await events.aclose()
    assert painter.is_closed
