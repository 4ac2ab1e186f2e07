"""Streams of responses: their order, whatever the model does, and what is left when one breaks off."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from models.errors import InferenceFailed, InvalidInput
from models.tasks import ChatDelta, TokenLogprob
from tests.deployments.apps import fault
from tests.deployments.ingress.routes.responses.played import CALLS_END, END, HOLD, USAGE, Stage, call
from tests.deployments.ingress.routes.responses.streams import Event, read, streamed, text_of

TOOL: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


async def test_words_come_in_the_order_that_the_sdks_read(http: httpx.AsyncClient, stage: Stage) -> None:
    events = await streamed(http, input="Hi")
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert text_of(events) == "Hello there."
    assert events[0]["response"]["output"] == []
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hello there."


async def test_words_calls_and_words_again_are_items_of_their_own(sdk: AsyncOpenAI, stage: Stage) -> None:
    stage.plays.append([
        ChatDelta("I look. "), *call("look", '{"a"', ":1}"), *call("look", "{}", index=1, call_id="call_2"),
        ChatDelta("Done."), CALLS_END,
    ])  # fmt: skip
    async with sdk.responses.stream(model="chat", input="Hi", tools=[TOOL]) as stream:
        deltas = [event.snapshot async for event in stream if event.type == "response.function_call_arguments.delta"]
        final = await stream.get_final_response()
    assert deltas == ['{"a"', '{"a":1}', "{}"]
    assert [item.type for item in final.output] == ["message", "function_call", "function_call", "message"]


async def test_the_sdk_sees_the_end_of_what_was_cut_short(sdk: AsyncOpenAI, stage: Stage) -> None:
    stage.plays.append([ChatDelta("He"), ChatDelta("", "length", USAGE)])
    stream = await sdk.responses.create(model="chat", input="Hi", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == "He"


async def test_a_failure_before_the_first_event_is_a_status(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([InvalidInput("no", "messages")])
    assert fault(await http.post("/v1/responses", json={"model": "chat", "input": "Hi", "stream": True}))[0] == 400


async def test_a_later_failure_is_the_last_event_and_nothing_is_kept(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("He"), InferenceFailed("it broke")])
    last = (await streamed(http, input="Hi"))[-1]
    assert last["type"] == "response.failed"
    response = last["response"]
    assert (response["status"], response["error"]["code"], response["usage"]) == ("failed", "INFERENCE_FAILED", None)
    assert response["output"][0]["status"] == "incomplete"
    assert (await http.get(f"/v1/responses/{response['id']}")).status_code == 404


async def test_a_response_is_cancelled_by_its_id_and_not_kept(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("He"), HOLD, END])
    async with http.stream("POST", "/v1/responses", json={"model": "chat", "input": "Hi", "stream": True}) as answer:
        chunks = answer.aiter_text()
        text = await anext(chunks)
        name = text.partition('"id": "')[2].partition('"')[0]
        assert (await http.get(f"/v1/responses/{name}")).json()["status"] == "in_progress"
        assert (await http.get(f"/v1/responses/{name}?stream=true")).status_code == 400
        cancelled = (await http.post(f"/v1/responses/{name}/cancel")).json()
        events = read(text + "".join([chunk async for chunk in chunks]))
    assert (cancelled["id"], cancelled["status"], cancelled["error"]["code"]) == (name, "cancelled", "cancelled")
    assert events[-1]["response"] == cancelled
    await asyncio.wait_for(stage.was_left.wait(), 20)
    assert (await http.post(f"/v1/responses/{name}/cancel")).status_code == 404


async def test_a_response_that_is_deleted_while_it_is_made_ends_and_is_not_kept(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.plays.append([ChatDelta("He"), HOLD, END])
    async with http.stream("POST", "/v1/responses", json={"model": "chat", "input": "Hi", "stream": True}) as answer:
        chunks = answer.aiter_text()
        text = await anext(chunks)
        name = text.partition('"id": "')[2].partition('"')[0]
        deleted = await http.delete(f"/v1/responses/{name}")
        events = read(text + "".join([chunk async for chunk in chunks]))
    assert deleted.json() == {"id": name, "object": "response", "deleted": True}
    assert events[-1]["response"]["status"] == "cancelled"
    assert (await http.get(f"/v1/responses/{name}")).status_code == 404
    assert (await http.delete(f"/v1/responses/{name}")).status_code == 404


async def test_a_client_that_leaves_takes_the_work_with_it(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("He"), HOLD, END])
    async with http.stream("POST", "/v1/responses", json={"model": "chat", "input": "Hi", "stream": True}) as answer:
        text = await anext(answer.aiter_text())
    name = text.partition('"id": "')[2].partition('"')[0]
    await asyncio.wait_for(stage.was_left.wait(), 20)
    assert (await http.get(f"/v1/responses/{name}")).status_code == 404


async def test_a_kept_response_is_streamed_again_also_from_the_middle(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.plays.append([ChatDelta("I look. "), ChatDelta("Now. "), *call("look", "{", "}"), CALLS_END])
    events = await streamed(http, input="Hi", tools=[TOOL])
    url = f"/v1/responses/{events[-1]['response']['id']}?stream=true"
    again = (await http.get(url)).text
    replayed = [_data(block) for block in again.split("\n\n") if block]
    assert replayed[-1] == events[-1]
    assert text_of(replayed) == "I look. Now. "
    numbers = [event["sequence_number"] for event in replayed]
    assert numbers == sorted(set(numbers))
    for event in events[:-1]:  # wherever the first stream broke off, the end is still to come
        rest = (await http.get(f"{url}&starting_after={event['sequence_number']}")).text
        assert _data(rest.split("\n\n")[-2]) == events[-1]


def _data(block: str) -> Event:
    event: Event = json.loads(block.partition("data: ")[2])
    return event


@pytest.mark.parametrize("seed", range(12))
async def test_any_stream_is_one_that_the_sdk_reads(
    http: httpx.AsyncClient, sdk: AsyncOpenAI, stage: Stage, seed: int
) -> None:
    play = _random_play(random.Random(seed))
    stage.plays += [play, play]
    if isinstance(play[0], Exception):
        with pytest.raises(openai.APIStatusError):
            await sdk.responses.create(model="chat", input="Hi", stream=True)
        return
    last = (await streamed(http, input="Hi", tools=[TOOL]))[-1]
    async with sdk.responses.stream(model="chat", input="Hi", tools=[TOOL]) as stream:
        seen = [event async for event in stream]
    assert seen[-1].type == last["type"]
    if last["type"] == "response.completed":
        final = await stream.get_final_response()
        assert [item.type for item in final.output] == [item["type"] for item in last["response"]["output"]]


def _random_play(rng: random.Random) -> list[ChatDelta | Exception | str]:
    """Words, calls in pieces, tokens without words, an end or none."""
    play: list[ChatDelta | Exception | str] = []
    calls = 0
    for _ in range(rng.randrange(6)):
        match rng.randrange(4):
            case 0 | 1:
                play.append(ChatDelta(rng.choice(["a", " ", "한", "é\n"])))
            case 2:
                play.append(ChatDelta("", logprobs=(TokenLogprob("x", -1.0, b"x"),)))
            case _:
                pieces = [rng.choice(["{", "}", ""]) for _ in range(rng.randrange(3))]
                play += call("look", *pieces, index=calls, call_id=f"call_{calls}")
                calls += 1
    if rng.random() < 0.25:
        return [*play, InferenceFailed("it broke")]
    text = rng.choice(["", "."])
    reason = rng.choice(["length", "tool_calls" if calls else "stop"])
    return [*play, ChatDelta(text, reason, USAGE)]  # type: ignore[arg-type]
