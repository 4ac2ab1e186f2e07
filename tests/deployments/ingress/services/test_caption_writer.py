"""Captions from the cache or from a model, with models that say what the test tells them to."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

import pytest
from ray import serve

import settings as configuration
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import ApiError
from deployments.ingress.services.caption_writer import CaptionWriter, is_yes
from deployments.vision import Answer
from models.errors import InferenceFailed
from models.tasks import ChatJob, ImagePart, TextPart, Usage
from stores.cache import MemoryCache

PROMPTS = {
    "prompt": "What is it?", "collective_prompt": "What are they?", "flag_prompt": "Is it red?",
    "system_prompt": "Be brief.",
}  # fmt: skip
VLM = {"engine": "vlm", "checkpoint": "builtin:vlm"}
BLIP = {"engine": "captioner", "checkpoint": "builtin:blip"}
MODELS: dict[str, Any] = {
    "gemma": VLM, "asked": {**VLM, "caption": PROMPTS}, "again": VLM, "blip": BLIP,
    "prefixed": {**BLIP, "caption": {"prompt": "a photo of"}},
}  # fmt: skip


class World:
    """What the models of a test do, and were asked."""

    jobs: ClassVar[list[ChatJob]] = []
    calls: ClassVar[list[tuple[list[bytes], str | None]]] = []
    flag: ClassVar[str] = "yes"
    fault: ClassVar[Exception | None] = None
    came: ClassVar[threading.Semaphore]
    may_answer: ClassVar[threading.Event]

    @classmethod
    async def answer(cls) -> None:
        cls.came.release()
        assert await asyncio.to_thread(cls.may_answer.wait, 20)
        if cls.fault is not None:
            raise cls.fault


async def asked(times: int) -> None:
    """Return once models have been asked so many times since the beginning of the test."""
    for _ in range(times):
        assert await asyncio.to_thread(World.came.acquire, timeout=20)


class Chat:
    async def chat(self, job: ChatJob) -> Answer:
        World.jobs.append(job)
        await World.answer()
        return Answer(World.flag if job.form else " a red circle\n", "stop", Usage(1, 1))


class Captioner:
    async def caption(self, images: dict[str, bytes], prefix: str | None = None) -> list[str]:
        World.calls.append((list(images.values()), prefix))
        await World.answer()
        return [f"{prefix or 'a'} {image.decode()} circle" for image in images.values()]


@pytest.fixture(scope="module")
def handles() -> dict[str, Any]:
    kinds = {alias: Chat if entry["engine"] == "vlm" else Captioner for alias, entry in MODELS.items()}
    return {
        alias: serve.run(serve.deployment(kind).bind(), name=f"captions-{alias}", _local_testing_mode=True)
        for alias, kind in kinds.items()
    }


@pytest.fixture
def writer(handles: dict[str, Any]) -> CaptionWriter:
    World.jobs, World.calls, World.flag, World.fault = [], [], "yes", None
    World.came, World.may_answer = threading.Semaphore(0), threading.Event()
    World.may_answer.set()
    settings = configuration.validate({"models": MODELS, "image_search_enabled": False}, {})
    return CaptionWriter(ModelCalls(settings, handles), MemoryCache(seconds=60, max_entries=100, max_bytes=100_000))


async def boarded(writer: CaptionWriter, count: int) -> None:
    """Return once so many wait for what is being made."""
    while sum({id(each): each.waiters for each in writer._flights._flights.values()}.values()) < count:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def captions(writer: CaptionWriter, alias: str, *images: bytes, prompt: str | None = None) -> list[str]:
    return [told.caption.caption for told in await writer.each(alias, prompt, None, images)]


async def test_only_what_is_not_remembered_is_made_and_the_rest_says_so(writer: CaptionWriter) -> None:
    assert await captions(writer, "blip", b"red", b"blue") == ["a red circle", "a blue circle"]
    told = await writer.each("blip", None, None, [b"blue", b"green", b"red", b"green"])
    assert [(t.caption.caption, t.is_cached) for t in told] == [
        ("a blue circle", True), ("a green circle", False), ("a red circle", True), ("a green circle", False),
    ]  # fmt: skip
    assert told[0].caption.tags == ["blue", "circle", "blue_circle"]
    assert sorted(World.calls) == [([b"green"], None), ([b"red", b"blue"], None)]  # which comes first is chance


async def test_what_makes_another_caption_is_remembered_apart(writer: CaptionWriter) -> None:
    await captions(writer, "blip", b"red")
    for alias, prompt in (("blip", "an"), ("prefixed", None), ("gemma", None), ("gemma", "Why?"), ("asked", None)):
        (told,) = await writer.each(alias, prompt, None, [b"red"])
        assert not told.is_cached
    (told,) = await writer.each("again", None, None, [b"red"])
    assert told.is_cached  # the same model under another alias
    (told,) = await writer.each("gemma", None, "Is it blue?", [b"red"])
    assert not told.is_cached
    assert not (await writer.together("gemma", None, None, [b"red"])).is_cached


async def test_the_models_entry_says_what_is_asked_when_the_caller_does_not(writer: CaptionWriter) -> None:
    (told,) = await writer.each("asked", None, None, [b"red"])
    assert (told.caption.caption, told.caption.flagged) == ("a red circle", True)
    question, flag = World.jobs
    assert [(m.role, m.parts) for m in question.messages] == [
        ("system", (TextPart("Be brief."),)),
        ("user", (ImagePart(b"red"), TextPart("What is it?"))),
    ]
    assert flag.messages[-1].parts == (ImagePart(b"red"), TextPart("Is it red?"))
    assert question.form is None
    assert isinstance(flag.form, tuple)
    assert {is_yes(word, "asked") for word in flag.form} == {True, False}
    await writer.each("asked", "Which one?", "Is it blue?", [b"red"])
    assert [job.messages[-1].parts[-1] for job in World.jobs[2:]] == [TextPart("Which one?"), TextPart("Is it blue?")]
    assert await captions(writer, "prefixed", b"red") == ["a photo of red circle"]
    assert await captions(writer, "prefixed", b"red", prompt="the") == ["the red circle"]


async def test_all_pictures_stand_in_one_conversation_in_order(writer: CaptionWriter) -> None:
    told = await writer.together("asked", None, None, [b"red", b"blue", b"red"])
    assert (told.caption.caption, told.caption.flagged, told.is_cached) == ("a red circle", True, False)
    pictures = (ImagePart(b"red"), ImagePart(b"blue"), ImagePart(b"red"))
    assert [job.messages[-1].parts for job in World.jobs] == [
        (*pictures, TextPart("What are they?")), (*pictures, TextPart("Is it red?")),
    ]  # fmt: skip
    assert (await writer.together("asked", None, None, [b"red", b"red", b"blue"])).is_cached
    assert not (await writer.together("asked", None, None, [b"red", b"blue"])).is_cached


async def test_without_a_flag_prompt_nothing_is_flagged_or_asked(writer: CaptionWriter) -> None:
    (told,) = await writer.each("gemma", None, None, [b"red"])
    (prefixed,) = await writer.each("blip", None, "Is it red?", [b"red"])
    assert (told.caption.flagged, prefixed.caption.flagged, len(World.jobs)) == (False, False, 1)


async def test_an_answer_that_is_neither_yes_nor_no_flags_nothing(writer: CaptionWriter) -> None:
    World.flag = "perhaps"
    (told,) = await writer.each("asked", None, None, [b"red"])
    assert told.caption.flagged is False


async def test_the_same_request_at_the_same_time_is_computed_once(writer: CaptionWriter) -> None:
    World.may_answer.clear()
    requests = [asyncio.ensure_future(captions(writer, "blip", b"red", b"blue")) for _ in range(4)]
    requests.append(asyncio.ensure_future(captions(writer, "blip", b"blue", b"green")))
    await asked(2)
    await boarded(writer, 6)  # who leaves alone takes the work along
    requests[0].cancel()
    World.may_answer.set()
    assert await asyncio.gather(*requests[1:]) == [["a red circle", "a blue circle"]] * 3 + [
        ["a blue circle", "a green circle"]
    ]
    assert World.calls == [([b"red", b"blue"], None), ([b"green"], None)]


async def test_when_nobody_waits_any_more_the_next_request_begins_again(writer: CaptionWriter) -> None:
    World.may_answer.clear()
    requests = [asyncio.ensure_future(captions(writer, "blip", b"red")) for _ in range(2)]
    await asked(1)
    await boarded(writer, 2)
    for request in requests:
        request.cancel()
    await asyncio.wait(requests)
    World.may_answer.set()
    assert await captions(writer, "blip", b"red") == ["a red circle"]
    assert len(World.calls) == 2


async def test_a_failure_reaches_all_who_wait_and_is_not_remembered(writer: CaptionWriter) -> None:
    World.fault = InferenceFailed("broken")
    World.may_answer.clear()
    requests = [asyncio.ensure_future(captions(writer, "asked", b"red", b"blue")) for _ in range(3)]
    await asked(2)
    World.may_answer.set()
    failures = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(failure) for failure in failures] == [ApiError] * 3
    World.fault = None
    told = await writer.each("asked", None, None, [b"red", b"blue"])
    assert [(each.caption.caption, each.is_cached) for each in told] == [("a red circle", False)] * 2
