"""Callers of one captioner share its forwards, and nothing else. On the built-in model."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from deployments.captioning import Captioning
from models.entry import ModelEntry
from models.errors import InvalidImage
from tests.api.pictures import TRUNCATED, many_scenes, png

PICTURES = [png(scene) for scene in many_scenes(20)]


def named(images: list[bytes]) -> dict[str, bytes]:
    return {f"images[{i}]": image for i, image in enumerate(images)}


@pytest.fixture(scope="module")
def captioner() -> Iterator[Captioning]:
    entry = ModelEntry(engine="captioner", checkpoint="builtin:blip", threads=1, options={"max_batch": 16})
    captioner = Captioning("blip", entry)
    yield captioner
    captioner.engine.unload()


@pytest.fixture(scope="module")
def alone(captioner: Captioning) -> list[str]:
    """Each picture's caption, made by itself."""
    return asyncio.run(one_after_the_other(captioner))


@pytest.fixture
def forwards(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """A log line for each time that the engine worked."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "worked" in record.getMessage():
                lines.append(record.getMessage())

    handler = Lines()
    log = logging.getLogger("ray.serve")
    log.addHandler(handler)
    caplog.set_level(logging.INFO, "ray.serve")
    yield lines
    log.removeHandler(handler)


async def one_after_the_other(captioner: Captioning) -> list[str]:
    return [(await captioner.caption(named([picture])))[0] for picture in PICTURES]


async def test_sixteen_callers_at_once_share_two_forwards_and_hear_what_they_would_alone(
    captioner: Captioning, alone: list[str], forwards: list[str]
) -> None:
    captions = await asyncio.gather(*(captioner.caption(named([picture])) for picture in PICTURES[:16]))
    assert [own for (own,) in captions] == alone[:16]
    assert len(forwards) == 2  # the first at once, then all that came meanwhile


async def test_no_more_pictures_than_fit_go_together(
    captioner: Captioning, alone: list[str], forwards: list[str]
) -> None:
    sizes = [1, 9, 8, 7, 8]
    begins = [0, 1, 10, 3, 5]
    asked = [PICTURES[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]
    captions = await asyncio.gather(*(captioner.caption(named(images)) for images in asked))
    assert captions == [alone[begin : begin + size] for begin, size in zip(begins, sizes, strict=True)]
    assert len(forwards) == 3  # 1, then 9 + 7, then 8 + 8


async def test_callers_with_other_prefixes_go_by_themselves(captioner: Captioning, forwards: list[str]) -> None:
    prefixes = ["a picture of", None, "there is", "a picture of", "there is", None]
    captions = await asyncio.gather(*(captioner.caption(named(PICTURES[:1]), prefix) for prefix in prefixes))
    for prefix, (caption,) in zip(prefixes, captions, strict=True):
        assert caption.startswith(prefix or "")
    assert captions[1] == captions[5]
    assert len(forwards) == 4  # the first by itself


async def test_a_caller_who_leaves_spoils_nothing_for_the_others(captioner: Captioning, alone: list[str]) -> None:
    calls = [asyncio.ensure_future(captioner.caption(named([picture]))) for picture in PICTURES[:6]]
    await asyncio.sleep(0.01)  # the first works, the others wait
    calls[0].cancel()
    calls[3].cancel()
    captions = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(each, asyncio.CancelledError) for each in captions] == [True, False, False, True, False, False]
    assert [captions[i] for i in (1, 2, 4, 5)] == [[alone[i]] for i in (1, 2, 4, 5)]


async def test_when_all_have_left_the_next_is_served(captioner: Captioning, alone: list[str]) -> None:
    calls = [asyncio.ensure_future(captioner.caption(named([picture]))) for picture in PICTURES[:6]]
    await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    assert await captioner.caption(named(PICTURES[:1])) == alone[:1]


async def test_a_picture_that_cannot_be_read_fails_its_caller_only(captioner: Captioning, alone: list[str]) -> None:
    asked = [PICTURES[:1], PICTURES[1:2], [PICTURES[2], TRUNCATED], PICTURES[3:4]]
    captions = await asyncio.gather(*(captioner.caption(named(images)) for images in asked), return_exceptions=True)
    assert isinstance(captions[2], InvalidImage)
    assert captions[2].param == "images[1]"
    assert [captions[i] for i in (0, 1, 3)] == [[alone[i]] for i in (0, 1, 3)]
