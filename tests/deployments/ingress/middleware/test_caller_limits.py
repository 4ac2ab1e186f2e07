"""Limits of each caller: what is counted, for whom, until when, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.caller_limits import CallerLimits, LocalCounts
from deployments.ingress.middleware.peers import PEER, PROOF_VARIABLE
from deployments.ingress.middleware.request_context import RequestContext
from deployments.ingress.policy import Policy, apply
from stores.api_keys import ApiKeyFile, Limits
from tests.deployments.apps import client, fault, listening, make_app, settings_of

KEYS = {"ATELIER_API_KEYS": "one,two", "ATELIER_ADMIN_KEYS": "boss"}
ONE, TWO = {"Authorization": "Bearer one"}, {"X-API-Key": "two"}


@dataclass
class Service:
    """`/slow` and `/stream` do not end before they may; `/quick` does."""

    begun: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def quick(self, _request: Request) -> Response:
        return PlainTextResponse("done")

    async def broken(self, _request: Request) -> Response:
        raise RuntimeError("a mistake")

    async def slow(self, _request: Request) -> Response:
        self.begun.release()
        await self.may_end.wait()
        return PlainTextResponse("done")

    async def stream(self, _request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            try:
                yield b"first"
                self.begun.release()
                await self.may_end.wait()
                yield b"last"
            finally:
                self.ended.set()

        return StreamingResponse(pieces())

    def app(self, home: Path, environ: Mapping[str, str]) -> Starlette:
        settings = settings_of(home, environ)

        async def open_to_anyone(request: Request) -> Response:
            return await self.quick(request)

        async def look(request: Request) -> Response:
            return await self.quick(request)

        apply(open_to_anyone, Policy("anyone"))
        apply(look, Policy(only_looks=True))
        routes = [Route(f"/{each.__name__}", each) for each in (self.quick, self.broken, self.slow, self.stream)]
        return Starlette(
            routes=[
                *routes,
                Route("/look", look),
                *(Route(path, open_to_anyone) for path in ("/healthz", "/i/x", "/")),
            ],
            middleware=[
                Middleware(RequestContext),
                Middleware(Keys, access=Access(settings)),
                Middleware(CallerLimits, trusted_proxies=settings.trusted_proxies, counts=LocalCounts()),
            ],
        )


@asynccontextmanager
async def serving(
    home: Path, environ: Mapping[str, str], service: Service | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport((service or Service()).app(home, environ), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


def rate_of(answer: httpx.Response) -> tuple[str | None, ...]:
    return tuple(answer.headers.get(f"x-ratelimit-{what}-requests") for what in ("limit", "remaining", "reset"))


async def test_every_answer_tells_what_is_left_and_one_too_many_is_a_429_that_says_when(tmp_path: Path) -> None:
    async with serving(tmp_path, {**KEYS, "ATELIER_RATE": "3/hour"}) as http:
        assert rate_of(await http.get("/quick", headers=ONE)) == ("3", "2", "1h0m0s")
        assert rate_of(await http.get("/nowhere", headers=ONE))[1] == "1"
        assert (await http.get("/broken", headers=ONE)).status_code == 500
        refused = await http.get("/quick", headers=ONE)
        assert fault(refused) == (429, "rate_limit_exceeded", None)
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert "3/hour" in refused.json()["error"]["message"]
        assert rate_of(refused)[:2] == ("3", "0")
        assert refused.headers["retry-after"] == "60"
        assert refused.headers["x-request-id"]


async def test_who_waits_as_long_as_it_says_is_let_in_again(tmp_path: Path) -> None:
    async with serving(tmp_path, {**KEYS, "ATELIER_RATE": "1/second"}) as http:
        await http.get("/quick", headers=ONE)
        refused = await http.get("/quick", headers=ONE)
        assert (refused.status_code, refused.headers["retry-after"], rate_of(refused)[2]) == (429, "1", "1s")
        await asyncio.sleep(1)
        assert (await http.get("/quick", headers=ONE)).status_code == 200


async def test_nothing_is_limited_or_said_where_nothing_is_set(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as http:
        answers = [await http.get("/quick") for _ in range(50)]
    assert {(each.status_code, *rate_of(each)) for each in answers} == {(200, None, None, None)}


async def test_each_key_is_counted_by_itself_however_it_is_sent_and_wrong_ones_not_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path, {**KEYS, "ATELIER_RATE": "1/hour"}) as http:
        wrong = await http.get("/quick", headers={"Authorization": "Bearer wrong"})
        assert (wrong.status_code, rate_of(wrong)) == (401, (None, None, None))
        statuses = [(await http.get("/quick", headers=each)).status_code for each in (ONE, TWO, ONE, TWO)]
        assert statuses == [200, 200, 429, 429]
        assert (await http.get("/quick", headers={"X-API-Key": "one"})).status_code == 429


async def test_what_is_always_open_is_not_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, {"ATELIER_RATE": "1/hour", "ATELIER_CONCURRENCY": "1"}) as http:
        for path in ("/healthz", "/i/x", "/"):
            answers = [await http.get(path) for _ in range(3)]
            assert {(each.status_code, rate_of(each)[0]) for each in answers} == {(200, None)}
        assert (await http.get("/quick")).status_code == 200


async def test_limits_of_a_key_in_the_file_go_before_those_of_all(tmp_path: Path) -> None:
    file = ApiKeyFile(tmp_path / "keys.json")
    own, usual = file.add("own", Limits(rate="5/minute")), file.add("usual", Limits())
    async with serving(tmp_path, {"ATELIER_RATE": "2/minute"}) as http:
        told = [rate_of(await http.get("/quick", headers={"X-API-Key": key}))[:2] for key in (own, usual)]
    assert told == [("5", "4"), ("2", "1")]


async def test_while_the_server_is_open_an_address_is_counted_whatever_key_it_sends(tmp_path: Path) -> None:
    app = make_app(tmp_path, {"ATELIER_RATE": "2/hour"})
    async with client(app) as one, client(app, peer="192.0.2.2") as other:
        assert (await one.get("/docs", headers=ONE)).status_code == 200
        assert (await one.get("/docs", headers=TWO)).status_code == 200
        assert (await one.get("/docs")).status_code == 429
        assert (await other.get("/docs")).status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "are_one"),
    [
        # headers of a caller that is not a trusted proxy do not count
        (("192.0.2.1", "203.0.113.1"), ("192.0.2.1", "203.0.113.2"), True),
        (("10.0.0.1", "203.0.113.1"), ("10.0.0.1", "203.0.113.2"), False),
        (("10.0.0.1", "203.0.113.1"), ("10.0.0.2", "203.0.113.1"), True),
        # what a caller wrote before the proxy appended its address
        (("10.0.0.1", "198.51.100.1, 203.0.113.1"), ("10.0.0.1", "198.51.100.2, 203.0.113.1"), True),
        (("10.0.0.1", "203.0.113.1, 10.0.0.2"), ("10.0.0.1", "203.0.113.2, 10.0.0.2"), False),
        (("10.0.0.1", "nobody"), ("10.0.0.1", ""), True),
        (("2001:db8::1", ""), ("2001:db8::ffff:2", ""), True),
        (("2001:db8::1", ""), ("2001:db8:0:1::1", ""), False),
        (("::ffff:192.0.2.1", ""), ("::ffff:192.0.2.2", ""), False),
        (("::ffff:10.0.0.1", "203.0.113.1"), ("10.0.0.2", "203.0.113.1"), True),
    ],
)
async def test_an_address_is_that_of_the_nearest_who_is_no_trusted_proxy_and_of_ipv6_that_of_the_site(
    tmp_path: Path, first: tuple[str, str], second: tuple[str, str], are_one: bool
) -> None:
    app = make_app(tmp_path, {"ATELIER_RATE": "1/hour", "ATELIER_TRUSTED_PROXIES": "10.0.0.0/8"})
    statuses = []
    for peer, forwarded in (first, second):
        async with client(app, peer) as http:
            statuses.append((await http.get("/docs", headers={"X-Forwarded-For": forwarded})).status_code)
    assert statuses == [200, 429 if are_one else 200]


@pytest.mark.parametrize("token", [None, "the-token-of-this-start"])
@pytest.mark.parametrize("forged", ["{}", "guessed {}", " {}"])
async def test_a_caller_cannot_choose_an_address_by_the_header_that_haproxy_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None, forged: str
) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    monkeypatch.delenv(PROOF_VARIABLE, raising=False)
    if token:
        monkeypatch.setenv(PROOF_VARIABLE, token)
    app = make_app(tmp_path, {"ATELIER_RATE": "1/hour"})
    statuses = []
    async with client(app, "127.0.0.1") as http:
        for number in (1, 2):
            headers = {PEER: forged.format(f"198.51.100.{number}")}
            statuses.append((await http.get("/docs", headers=headers)).status_code)
        if token:
            headers = {PEER: f"{token} 198.51.100.3"}  # as HAProxy does
            statuses.append((await http.get("/docs", headers=headers)).status_code)
    assert statuses == [200, 429, 200][: len(statuses)]


async def test_as_many_requests_as_allowed_run_at_once_and_an_ended_one_makes_room(tmp_path: Path) -> None:
    service = Service()
    async with serving(tmp_path, {**KEYS, "ATELIER_CONCURRENCY": "2"}, service) as http:
        running = [asyncio.ensure_future(http.get("/slow", headers=ONE)) for _ in range(2)]
        for _ in running:
            await service.begun.acquire()
        refused = await http.get("/quick", headers=ONE)
        assert fault(refused) == (429, "rate_limit_exceeded", None)
        assert "2 of your requests are under way" in refused.json()["error"]["message"]
        assert refused.headers["retry-after"] == "1"
        assert (await http.get("/quick", headers=TWO)).status_code == 200
        service.may_end.set()
        assert [each.status_code for each in await asyncio.gather(*running)] == [200, 200]
        assert (await http.get("/quick", headers=ONE)).status_code == 200
        assert (await http.get("/broken", headers=ONE)).status_code == 500
        assert (await http.get("/broken", headers=ONE)).status_code == 500
        assert (await http.get("/quick", headers=ONE)).status_code == 200


async def test_a_stream_is_under_way_until_its_last_byte(tmp_path: Path) -> None:
    service = Service()
    async with (
        listening(service.app(tmp_path, {"ATELIER_CONCURRENCY": "1"})) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        async with http.stream("GET", "/stream") as answer:
            pieces = answer.aiter_bytes()
            assert await anext(pieces) == b"first"
            assert (await http.get("/quick")).status_code == 429
            service.may_end.set()
            assert [piece async for piece in pieces] == [b"last"]
        assert (await http.get("/quick")).status_code == 200


async def test_a_caller_who_leaves_in_the_middle_of_a_stream_makes_room(tmp_path: Path) -> None:
    service = Service()
    async with (
        listening(service.app(tmp_path, {"ATELIER_CONCURRENCY": "1"})) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        async with http.stream("GET", "/stream") as answer:
            await anext(answer.aiter_bytes())
        await asyncio.wait_for(service.ended.wait(), 10)
        assert (await http.get("/quick")).status_code == 200


async def test_who_has_taken_all_places_can_still_look_and_that_takes_none(tmp_path: Path) -> None:
    service = Service()
    async with serving(tmp_path, {**KEYS, "ATELIER_CONCURRENCY": "1"}, service) as http:
        slow = asyncio.ensure_future(http.get("/slow", headers=ONE))
        await service.begun.acquire()
        assert (await http.get("/look", headers=ONE)).status_code == 200
        assert (await http.get("/quick", headers=ONE)).status_code == 429
        service.may_end.set()
        assert (await slow).status_code == 200
        assert (await http.get("/quick", headers=ONE)).status_code == 200
