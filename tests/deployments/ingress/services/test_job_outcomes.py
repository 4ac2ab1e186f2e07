"""What a job that outlives its request has given: followed from any moment, kept within a bound."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest
from starlette.requests import Request

from deployments.imaging import FinishedImage, Output, Partial
from deployments.ingress.errors import ApiError
from deployments.ingress.middleware.access import Caller
from deployments.ingress.services.image_answers import AskedPictures
from deployments.ingress.services.job_outcomes import MOST_FOLLOWERS, Outcome, Outcomes
from deployments.ingress.services.jobs import Jobs
from models.tasks import ImageJob
from stores.api_keys import Limits

Piece = Partial | FinishedImage


def asked(n: int = 2, images: tuple[bytes, ...] = ()) -> AskedPictures:
    job = ImageJob("a", 64, 64, steps=4, guidance=1, seed=10, n=n, images=images)
    return AskedPictures("image-gen", job, Output(), "medium", frozenset(["b64_json"]), "image_generation")


def finished(number: int, size: int = 1) -> FinishedImage:
    return FinishedImage(b"f" * size, 10 + number)


def following(outcome: Outcome) -> tuple[list[Piece], asyncio.Task[None]]:
    seen: list[Piece] = []

    async def follow() -> None:
        async with aclosing(outcome.follow()) as pieces:
            async for piece in pieces:
                seen.append(piece)  # noqa: PERF401 - they are looked at while it follows

    return seen, asyncio.ensure_future(follow())


async def test_who_comes_in_the_middle_gets_the_latest_and_all_that_follows() -> None:
    outcome = Outcome(asked())
    old, latest, second = Partial(0, 0, b"old"), Partial(0, 1, b"latest"), Partial(1, 0, b"second")
    outcome.add(old)
    outcome.add(latest)
    outcome.add(second)
    seen, follower = following(outcome)
    await asyncio.sleep(0)
    assert seen == [latest, second]
    outcome.add(finished(0))
    outcome.add(finished(1))
    outcome.end(answer=asked().answer([finished(0), finished(1)], [], 1.0))
    await follower
    assert seen == [latest, second, finished(0), finished(1)]
    after, follower = following(outcome)
    await follower
    assert after == [finished(0), finished(1)]


async def test_a_follower_gets_the_failure_and_later_ones_get_it_too() -> None:
    outcome = Outcome(asked())
    _, follower = following(outcome)
    await asyncio.sleep(0)
    outcome.end(error=ApiError(503, "it ended", code="model_restarting"))
    outcome.end(error=ApiError(500, "something later"))
    for each in (follower, following(outcome)[1]):
        with pytest.raises(ApiError) as raised:
            await each
        assert (raised.value.status, raised.value.code) == (503, "model_restarting")


async def test_so_many_may_follow_and_one_who_leaves_makes_room() -> None:
    outcome = Outcome(asked())
    outcome.add(Partial(0, 0, b"a"))
    followers = [outcome.follow() for _ in range(MOST_FOLLOWERS)]
    for each in followers:
        await anext(each)
    with pytest.raises(ApiError) as refused:
        outcome.refuse_more_followers()
    assert refused.value.status == 429
    await followers[0].aclose()
    outcome.refuse_more_followers()


async def test_what_a_caller_sent_is_not_kept_when_the_work_has_ended() -> None:
    outcome = Outcome(asked(images=(b"a picture",)))
    outcome.end(error=ApiError(400, "stopped"))
    assert outcome.asked.job.images == ()


async def test_the_oldest_leaves_when_there_is_no_room_and_what_never_fits_is_not_kept() -> None:
    def made(size: int) -> Outcome:
        outcome = Outcome(asked(1))
        outcome.add(finished(0, size))
        outcome.end(answer=asked(1).answer([finished(0, size)], [], 1.0))
        return outcome

    kept = Outcomes(100_000)
    names: list[tuple[str, str]] = [("", name) for name in "abc"]
    for name in names:
        kept.keep(name, made(40_000))
    assert [kept.get(name) is not None for name in names] == [False, True, True]
    kept.keep(("", "huge"), made(200_000))
    assert kept.get(("", "huge")) is None
    assert kept.get(names[2]) is not None


async def test_an_answer_can_be_given_again_and_inside_of_its_job() -> None:
    answer = asked(1).answer([finished(0)], ["http://x/1.png"], 0.5)
    whole: dict[str, Any] = json.loads(await answer.body())
    assert whole["data"] == [{"revised_prompt": "a", "seed": 10, "url": "http://x/1.png", "b64_json": "Zg=="}]
    assert json.loads(await answer.body(around={"id": "job"})) == {"id": "job", "result": whole}
    assert json.loads(await answer.body()) == whole


async def test_a_later_request_with_the_same_id_does_not_take_the_place_of_a_job_that_outlives_its_own() -> None:
    caller = Caller("", has_key=False, scope=None, owner="", limits=Limits())
    request = Request({"type": "http", "headers": [], "state": {"request_id": "job", "caller": caller}})
    jobs = Jobs(2**20)
    for_later = jobs.begin(request, "image-gen", Outcome(asked()))
    async with jobs.working(request, "image-gen"):
        assert jobs.find("", "job") is for_later
    async with jobs.within(for_later):
        jobs.outcome_of(for_later).add(finished(0))
    async with jobs.working(request, "image-gen"):
        pass
    assert jobs.find("", "job") is for_later
    assert jobs.outcome_of(for_later).size > 0
