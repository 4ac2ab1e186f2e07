"""The thread of a replica's engine, and streams from it, at the reader's pace. On the built-in voice."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import pytest

from deployments import replica
from deployments.replica import IsCancelled
from deployments.voice import SpeechChunk, Voice
from models.entry import ModelEntry
from models.errors import InferenceFailed
from models.tasks import SpeechJob

MOST_AHEAD = replica._MAX_AHEAD


@pytest.fixture(scope="module")
def voice() -> Iterator[Voice]:
    made = Voice("voice", ModelEntry(engine="espeak", checkpoint="builtin:voice"))
    yield made
    made.engine.unload()


class Counting:
    """Work that can be watched: how many pieces it has made, and that it is as far ahead as it may be."""

    def __init__(self) -> None:
        self.made = 0
        self.is_ahead = threading.Event()

    def __call__(self, _: IsCancelled) -> Iterator[int]:
        for number in range(20 * MOST_AHEAD):
            self.made = number + 1
            if self.made > MOST_AHEAD:
                self.is_ahead.set()
            yield number


async def begun(voice: Voice, work: Counting) -> AsyncGenerator[int, None]:
    """The stream of the work, which has run ahead of its reader."""
    pieces = voice.stream(work)
    assert await anext(pieces) == 0
    await asyncio.to_thread(work.is_ahead.wait)
    return pieces


async def test_the_engine_waits_for_a_reader_who_is_far_behind(voice: Voice) -> None:
    work = Counting()
    taken = 1
    async for _ in await begun(voice, work):
        taken += 1
        assert work.made <= taken + MOST_AHEAD + 1
    assert taken == work.made == 20 * MOST_AHEAD


async def test_a_reader_who_leaves_frees_an_engine_that_waits(voice: Voice) -> None:
    work = Counting()
    pieces = await begun(voice, work)
    await pieces.aclose()
    assert await voice.run(lambda _: "the next one's turn") == "the next one's turn"
    assert work.made <= MOST_AHEAD + 3


async def test_a_task_that_is_cancelled_frees_an_engine_that_waits(voice: Voice) -> None:
    work = Counting()

    async def read_and_stop() -> None:
        async with aclosing(voice.stream(work)) as pieces:
            async for _ in pieces:
                await asyncio.Event().wait()

    reading = asyncio.create_task(read_and_stop())
    await asyncio.to_thread(work.is_ahead.wait)
    reading.cancel()
    await asyncio.wait([reading])
    assert await voice.run(lambda _: "the next one's turn") == "the next one's turn"


async def test_a_reader_who_stands_still_does_not_hold_up_others_for_good(
    voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "_PATIENCE_SECONDS", 0.1)
    pieces = await begun(voice, Counting())
    assert await voice.run(lambda _: "the next one's turn") == "the next one's turn"
    with pytest.raises(InferenceFailed, match="read nothing"):
        async for _ in pieces:
            pass


async def test_a_text_of_very_many_sentences_comes_whole_at_the_readers_pace(voice: Voice) -> None:
    job = SpeechJob("This is a sentence that is long enough. " * 2 * MOST_AHEAD)
    parts: list[SpeechChunk] = []
    async for part in voice.stream_speech(job, "pcm"):
        parts.append(part)
        await asyncio.sleep(0)
    assert sum(len(part.data) for part in parts) == pytest.approx(
        48_000 * sum(part.seconds for part in parts), rel=1e-3
    )
    assert len(parts) == 2 * MOST_AHEAD + 1


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux only")
async def test_an_engine_computes_after_those_who_answer_clients(voice: Voice) -> None:
    def priority(thread: int) -> int:
        return os.getpriority(os.PRIO_PROCESS, thread)

    answering = threading.get_native_id()
    before = priority(answering)
    assert await voice.run(lambda _: priority(threading.get_native_id())) == max(before, 10)
    assert priority(answering) == before
