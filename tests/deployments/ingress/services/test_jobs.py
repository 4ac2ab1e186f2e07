"""Jobs: whose they are, how they end, and that a stopped one leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from deployments.ingress.errors import ApiError
from tests.deployments.apps import client, fault, make_app


class Picture:
    """Something large that a request holds."""


@dataclass
class Work:
    """What the route `/work` does: it holds a picture until the test says how it ends."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    held: weakref.ref[Picture] | None = None


@asynccontextmanager
async def working(home: Path, work: Work, environ: Mapping[str, str] | None = None) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(home, {"IMAGE_ENABLED": "1", **(environ or {})})

    @app.get("/work")
    async def do(request: Request) -> dict[str, Any]:
        picture = Picture()
        work.held = weakref.ref(picture)
        async with request.app.state.atelier.jobs.working(request, "image-gen"):
            work.begun.set()
            await work.may_end.wait()
            if work.failure is not None:
                raise work.failure
        return {"worked": True}

    async with client(app) as http:
        yield http


def asked(http: httpx.AsyncClient, job: str = "job", key: str = "") -> asyncio.Task[httpx.Response]:
    headers = {"x-request-id": job} | ({"Authorization": f"Bearer {key}"} if key else {})
    return asyncio.ensure_future(http.get("/work", headers=headers))


async def state(http: httpx.AsyncClient, key: str = "") -> str:
    answer = await http.get("/v1/jobs/job", headers={"Authorization": f"Bearer {key}"} if key else {})
    return str(answer.json()["state"]) if answer.is_success else str(answer.status_code)


async def test_a_job_is_there_from_the_first_moment_and_done_when_all_of_the_work_is(tmp_path: Path) -> None:
    work = Work()
    async with working(tmp_path, work) as http:
        request = asked(http)
        await work.begun.wait()
        assert await state(http) == "queued"
        work.may_end.set()
        assert (await request).json() == {"worked": True}
        assert await state(http) == "done"


async def test_work_that_fails_at_its_end_is_no_job_done(tmp_path: Path) -> None:
    work = Work(failure=ApiError(502, "it could not be kept", code="R2_UPLOAD_FAILED"))
    work.may_end.set()
    async with working(tmp_path, work) as http:
        assert fault(await asked(http)) == (502, "R2_UPLOAD_FAILED", None)
        assert await state(http) == "failed"


async def test_a_job_that_is_stopped_after_the_model_worked_is_answered_as_stopped(tmp_path: Path) -> None:
    work = Work()
    async with working(tmp_path, work) as http:
        request = asked(http)
        await work.begun.wait()
        assert (await http.delete("/v1/jobs/job")).json()["state"] == "cancelled"
        work.may_end.set()
        assert fault(await request) == (400, "cancelled", None)
        assert await state(http) == "cancelled"


async def test_stopped_jobs_keep_nothing_of_their_requests(tmp_path: Path) -> None:
    held = []
    for _ in range(3):
        work = Work()
        async with working(tmp_path, work) as http:
            request = asked(http)
            await work.begun.wait()
            await http.delete("/v1/jobs/job")
            work.may_end.set()
            assert fault(await request)[0] == 400
        held.append(work.held)
    del work, request
    gc.collect()
    assert [each() for each in held if each is not None] == [None] * 3


@pytest.mark.parametrize(("key", "expected"), [("one", "queued"), ("other", "404"), ("boss", "queued")])
async def test_a_job_belongs_to_the_key_that_began_it_and_admins_reach_all(
    tmp_path: Path, key: str, expected: str
) -> None:
    work = Work()
    async with working(tmp_path, work, {"ATELIER_API_KEYS": "one,other", "ATELIER_ADMIN_KEYS": "boss"}) as http:
        request = asked(http, key="one")
        await work.begun.wait()
        assert await state(http, key) == expected
        stopped = await http.delete("/v1/jobs/job", headers={"Authorization": f"Bearer {key}"})
        assert stopped.status_code == (404 if expected == "404" else 200)
        work.may_end.set()
        assert (await request).status_code == (200 if expected == "404" else 400)
