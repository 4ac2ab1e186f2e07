"""Streams of models that fail in the middle, read by the SDKs' own helpers: none hangs, none takes half for whole."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anthropic
import pytest
from openai import APIError, AsyncOpenAI

from models.errors import InferenceFailed
from models.tasks import ChatDelta
from tests.api.node import NODE
from tests.deployments.apps import listening
from tests.deployments.ingress.routes.responses.played import HOLD, USAGE, Stage, app_over, call

Play = Sequence[ChatDelta | Exception | str]
FAILS: Final[Play] = (ChatDelta("He"), InferenceFailed("it broke"))
FAILS_IN_A_CALL: Final[Play] = (ChatDelta("He"), *call("look", '{"a'), InferenceFailed("it broke"))
IS_CUT: Final[Play] = (ChatDelta("He"), ChatDelta("", "length", USAGE))
BROKE: Final = "the model failed on this input"
"""What a caller may know of it."""
MESSAGES: Final[Any] = [{"role": "user", "content": "Hi"}]
_SECONDS: Final = 60


@pytest.mark.parametrize("play", [FAILS, FAILS_IN_A_CALL])
async def test_the_helpers_of_python_raise_what_broke(tmp_path: Path, play: Play) -> None:
    stage = Stage()
    async with (
        listening(app_over(stage, tmp_path)) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk,
        anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as claude,
        asyncio.timeout(_SECONDS),
    ):
        stage.plays.extend([play] * 3)
        with pytest.raises(APIError, match=BROKE):
            async with sdk.chat.completions.stream(model="chat", messages=MESSAGES) as chat:
                await chat.until_done()
        async with sdk.responses.stream(model="chat", input="Hi") as stream:
            last = [event async for event in stream][-1]
        assert last.type == "response.failed"
        assert last.response.error
        assert BROKE in last.response.error.message
        with pytest.raises(anthropic.APIStatusError, match=BROKE):
            async with claude.messages.stream(model="chat", max_tokens=9, messages=MESSAGES) as messages:
                await messages.until_done()


async def test_a_response_that_is_cancelled_ends_its_stream_in_python(tmp_path: Path) -> None:
    stage = Stage()
    stage.plays.append((ChatDelta("He"), HOLD))
    async with (
        listening(app_over(stage, tmp_path)) as url,
        AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk,
        asyncio.timeout(_SECONDS),
    ):
        async with sdk.responses.stream(model="chat", input="Hi") as stream:
            async for event in stream:
                if event.type == "response.created":
                    name = event.response.id
                elif event.type == "response.output_text.delta":
                    cancelled = await sdk.responses.cancel(name)
        assert (cancelled.id, cancelled.status) == (name, "cancelled")
        assert event.type == "response.failed"
        assert event.response.status == "cancelled"


@pytest.mark.parametrize(("play", "error"), [(FAILS, BROKE), (FAILS_IN_A_CALL, BROKE), (IS_CUT, None)])
async def test_the_helpers_of_javascript_read_to_the_end_and_name_what_broke(
    node_packages: Path, tmp_path: Path, play: Play, error: str | None
) -> None:
    stage = Stage()
    stage.plays.extend([play] * 4)
    async with listening(app_over(stage, tmp_path)) as url:
        told = await asyncio.to_thread(
            subprocess.run,
            [NODE, "broken.mjs"],
            cwd=node_packages,
            input=json.dumps({"url": f"{url}/v1"}),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    assert told.returncode == 0, told.stderr
    read = json.loads(told.stdout)
    assert set(read) == {"chat", "responses", "ai_chat", "ai_responses"}
    for reader, seen in read.items():
        assert (seen["text"], seen["calls"]) == ("He", []), reader
        if error:
            assert error in seen["error"], reader
        else:
            assert (seen["error"], seen["end"]) == (None, "max_output_tokens" if reader == "responses" else "length")
