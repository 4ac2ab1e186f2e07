"""Jobs at several ingress replicas: each tells of those of the others, stops them, and has their results."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.ingress.services import job_outcomes
from deployments.ingress.services.shared_jobs import SharedJobs
from tests.deployments.ingress.replicas.running import Replica, fault, replicas
from tests.deployments.ingress.routes.responses.played import Stage, app_over
from tests.redis_server import RedisServer

DRAW = {"prompt": "a cat", "model": "image", "size": "64x64"}
LATER = {"Prefer": "respond-async"}


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def both(tmp_path: Path, shared: dict[str, str], stage: Stage) -> AsyncIterator[list[Replica]]:
    async with replicas(tmp_path, shared, make=partial(app_over, stage)) as running:
        yield running
        stage.may_go_on.set()  # a replica ends when its requests have


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await what():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.02)


async def until_state(replica: Replica, state: str, job: str = "job", headers: dict[str, str] | None = None) -> None:
    async def is_so() -> bool:
        answer = await replica.http.get(f"/v1/jobs/{job}", headers=headers)
        return answer.is_success and answer.json()["state"] == state

    await until(is_so)


async def begun(replica: Replica, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    """A request that is answered by a job."""
    sent = {**LATER, "x-request-id": "job", **(headers or {})}
    answer = await replica.http.post("/v1/images/generations", json={**DRAW, **fields}, headers=sent)
    assert answer.status_code == 202, answer.text
    return answer


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block for block in text.replace("\r", "").split("\n\n") if block.startswith("event: ")]
    pairs = [block.split("\n", 1) for block in blocks]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


async def test_a_job_is_seen_and_stopped_at_another_replica(both: list[Replica], stage: Stage) -> None:
    one, two = both
    stage.holds_image = True
    working = asyncio.ensure_future(one.http.post("/v1/images/generations", json=DRAW, headers={"x-request-id": "job"}))
    await until_state(two, "running")
    assert (await two.http.get("/v1/jobs/job")).json() == (await one.http.get("/v1/jobs/job")).json()
    assert (await two.http.get("/v1/jobs/job")).json()["step"] == 1
    assert fault(await two.http.get("/v1/jobs/job/events")) == (409, "job_not_kept")
    assert (await two.http.delete("/v1/jobs/job")).json()["state"] == "cancelled"
    assert fault(await working) == (400, "cancelled")
    await asyncio.wait_for(stage.was_left.wait(), 30)
    for each in both:
        assert (await each.http.get("/v1/jobs/job")).json()["state"] == "cancelled"
        assert (await each.http.delete("/v1/jobs/job")).json()["state"] == "cancelled"
    assert fault(await two.http.get("/v1/jobs/other")) == (404, "job_not_found")


async def test_the_result_of_a_job_is_had_at_another_replica(both: list[Replica]) -> None:
    one, two = both
    await begun(one)
    await until_state(two, "done")
    here, there = [(await each.http.get("/v1/jobs/job")).json() for each in both]
    assert there == here
    assert base64.b64decode(there["result"]["data"][0]["b64_json"]).startswith(b"\x89PNG")


async def test_who_follows_a_job_at_another_replica_sees_each_picture_as_it_comes(
    both: list[Replica], stage: Stage
) -> None:
    one, two = both
    stage.holds_image = True
    await begun(one, partial_images=2)

    async def followed(replica: Replica) -> list[tuple[str, dict[str, Any]]]:
        return events_of((await replica.http.get("/v1/jobs/job/events")).text)

    following = [asyncio.ensure_future(followed(each)) for each in both]
    await until_state(two, "running")
    assert not (await asyncio.wait(following, timeout=0.3))[0]
    stage.may_go_on.set()
    here, there = await asyncio.gather(*following)
    names = [name for name, _ in there]
    assert names == ["image_generation.partial_image", "image_generation.completed"]
    assert [each["b64_json"] for _, each in there] == [each["b64_json"] for _, each in here]
    assert await followed(two) == [(name, {**each, "created_at": later["created_at"]}) for (name, each), (_, later) in
                                   zip(here[-1:], await followed(one), strict=True)]  # fmt: skip


async def test_so_many_follow_a_job_of_another_replica_as_may(
    both: list[Replica], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_outcomes, "MOST_FOLLOWERS", 1)
    one, two = both
    stage.holds_image = True
    await begun(one)
    events = "/v1/jobs/job/events"
    async with two.http.stream("GET", events) as following:
        await until(lambda: is_refused(two, events))
        stage.may_go_on.set()
        assert [name for name, _ in events_of((await following.aread()).decode())] == ["image_generation.completed"]
    assert (await two.http.get(events)).is_success


async def is_refused(replica: Replica, path: str) -> bool:
    async with replica.http.stream("GET", path) as answer:
        return answer.status_code == 429


async def test_a_failure_is_reported_alike_by_every_replica(both: list[Replica], stage: Stage) -> None:
    one, two = both
    stage.holds_image = True
    await begun(one)
    stage.image_error = RuntimeError("it broke")
    stage.may_go_on.set()
    await until_state(two, "failed")
    here, there = [(await each.http.get("/v1/jobs/job")).json() for each in both]
    assert there == here
    assert there["error"]["code"] == "internal_error"
    ((name, event),) = events_of((await two.http.get("/v1/jobs/job/events")).text)
    assert (name, event["error"]["code"]) == ("error", "internal_error")


async def test_a_job_of_an_id_is_at_work_once_among_all_replicas(both: list[Replica], stage: Stage) -> None:
    one, two = both
    stage.holds_image = True
    await begun(one)
    again = await two.http.post("/v1/images/generations", json=DRAW, headers={**LATER, "x-request-id": "job"})
    assert fault(again) == (409, "job_exists")
    assert len(stage.image_jobs) == 1
    stage.may_go_on.set()
    await until_state(two, "done")
    await begun(two)
    await until_state(one, "done")
    assert len(stage.image_jobs) == 2


async def test_what_a_dead_replica_was_at_is_lost_and_what_it_had_made_is_not(
    both: list[Replica], stage: Stage, redis_url: str
) -> None:
    one, two = both
    await begun(one, {"x-request-id": "made"}, n=1)
    await until_state(two, "done", "made")
    made = (await two.http.get("/v1/jobs/made")).json()
    quick = await one.http.post("/v1/images/generations", json=DRAW, headers={"x-request-id": "quick"})
    assert quick.is_success
    stage.holds_image = True
    await begun(one, {"x-request-id": "lost"})
    await until_state(two, "running", "lost")
    await kept(one)
    async with two.http.stream("GET", "/v1/jobs/lost/events") as following:
        await one.die(redis_url)
        ((_, event),) = events_of((await following.aread()).decode())
    assert event["error"]["code"] == "job_lost"
    lost = (await two.http.get("/v1/jobs/lost")).json()
    assert (lost["state"], lost["error"]["code"]) == ("failed", "job_lost")
    assert fault(await two.http.get("/v1/jobs/lost/events")) == (503, "job_lost")
    assert (await two.http.delete("/v1/jobs/lost")).json()["state"] == "failed"
    assert (await two.http.get("/v1/jobs/made")).json() == made
    ((_, event),) = events_of((await two.http.get("/v1/jobs/made/events")).text)
    assert event["b64_json"] == made["result"]["data"][0]["b64_json"]
    assert (await two.http.get("/v1/jobs/quick")).json()["state"] == "done"
    stage.may_go_on.set()


async def kept(replica: Replica) -> None:
    """Return once what its jobs have made is in PostgreSQL, which comes a moment after they have ended."""
    jobs = replica.atelier.jobs
    assert isinstance(jobs, SharedJobs)

    async def is_kept() -> bool:
        return not jobs._keeping

    await until(is_kept)


async def test_jobs_belong_to_their_keys_at_every_replica(tmp_path: Path, shared: dict[str, str], stage: Stage) -> None:
    environ = {**shared, "ATELIER_API_KEYS": "one,other", "ATELIER_ADMIN_KEYS": "boss"}

    def of(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    async with replicas(tmp_path, environ, make=partial(app_over, stage)) as (one, two):
        await begun(one, of("one"))
        await until_state(two, "done", headers=of("one"))
        assert (await two.http.get("/v1/jobs/job", headers=of("boss"))).json()["state"] == "done"
        assert fault(await two.http.get("/v1/jobs/job", headers=of("other"))) == (404, "job_not_found")
        assert fault(await two.http.delete("/v1/jobs/job", headers=of("other"))) == (404, "job_not_found")
        await begun(two, of("other"))
        await until_state(one, "done", headers=of("other"))
        assert (await one.http.get("/v1/jobs/job", headers=of("one"))).json()["state"] == "done"


async def test_without_redis_a_replica_knows_its_own_jobs_and_begins_none_for_later(
    both: list[Replica], redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = both
    await begun(one)
    await until_state(two, "done")
    redis.kill()
    try:
        assert (await one.http.get("/v1/jobs/job")).json()["state"] == "done"
        away = (503, "SHARED_STATE_UNAVAILABLE")
        assert fault(await two.http.get("/v1/jobs/job")) == away
        assert fault(await two.http.post("/v1/images/generations", json=DRAW, headers=LATER)) == away
        drawn = await two.http.post("/v1/images/generations", json=DRAW, headers={"x-request-id": "now"})
        assert drawn.status_code == 200
        assert (await two.http.get("/v1/jobs/now")).json()["state"] == "done"
    finally:
        redis.start()

    async def is_well() -> bool:
        sent = {**LATER, "x-request-id": "later"}
        return (await two.http.post("/v1/images/generations", json=DRAW, headers=sent)).status_code == 202

    await until(is_well)
    await until_state(one, "done", "later")
