"""`Idempotency-Key`: which responses are repeated, which are made again, which requests wait and which are refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from deployments.ingress.middleware import idempotency
from deployments.ingress.middleware.access import Access
from deployments.ingress.middleware.authentication import Keys
from deployments.ingress.middleware.idempotency import Idempotency, Ledger
from deployments.ingress.middleware.request_context import RequestContext
from deployments.ingress.policy import Policy, apply
from tests.deployments.apps import settings_of

LIMIT = 100_000
KEY = {"Idempotency-Key": "k-1"}


class Service:
    """A small service that counts what it makes, one result a run."""

    def __init__(self, folder: Path) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.status = 200
        self.file = folder / "made.bin"

    async def make(self, request: Request) -> Response:
        """What was sent, and the how-manieth thing this is."""
        sent = await request.body()
        self.made += 1
        self.begun.set()
        await self.may_end.wait()
        headers = {"X-Seed": str(self.made), "X-Two": "1"}
        return JSONResponse([self.made, hashlib.sha256(sent).hexdigest()], self.status, headers)

    async def form(self, request: Request) -> Response:
        async with request.form() as form:
            self.made += 1
            return JSONResponse([self.made, sorted(form)])

    async def stream(self, request: Request) -> Response:
        self.made += 1
        asked = json.loads(await request.body())

        async def events() -> AsyncIterator[bytes]:
            for event in asked["events"]:
                yield f"data: {json.dumps(event)}\n\n".encode()
            if asked.get("breaks"):
                raise RuntimeError("in the middle")
            await self.may_end.wait()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def large(self, request: Request) -> Response:
        self.made += 1
        self.file.write_bytes(bytes([self.made]) * int((await request.body()).decode()))
        return FileResponse(self.file, media_type="image/png", background=BackgroundTask(self.file.unlink))

    async def breaks(self, request: Request) -> Response:
        self.made += 1
        raise RuntimeError("a mistake")

    async def careless(self, request: Request) -> Response:
        self.made += 1
        request.state.ignored_parameters = ["frames"]
        return JSONResponse(self.made)


def app_of(service: Service, ledger: Ledger) -> Starlette:
    async def not_repeatable(request: Request) -> Response:
        return await service.make(request)

    apply(not_repeatable, Policy(is_repeatable=False))
    routes: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/v1/images/generations": service.make,
        "/v1/images": service.form,
        "/v1/images/search": not_repeatable,
        "/v1/chat/completions": service.stream,
        "/upload": service.large,
        "/process": service.breaks,
        "/v1/voice/generate": service.careless,
    }
    return Starlette(
        routes=[Route(path, route, methods=["POST", "GET"]) for path, route in routes.items()],
        middleware=[
            Middleware(RequestContext),
            Middleware(Keys, access=Access(settings_of(service.file.parent))),
            Middleware(Idempotency, ledger=ledger, max_body=LIMIT),
        ],
    )


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test", headers=KEY
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "idempotency", 2**30)
    yield ledger
    ledger.close()


@pytest.fixture
async def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.fixture
async def http(service: Service, ledger: Ledger) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app_of(service, ledger)) as client:
        yield client


MAKE = "/v1/images/generations"


async def twice(http: httpx.AsyncClient, path: str, **kwargs: Any) -> tuple[httpx.Response, httpx.Response]:
    return await http.post(path, **kwargs), await http.post(path, **kwargs)


def is_replayed(answer: httpx.Response) -> bool:
    return "true" in answer.headers.get_list("idempotent-replayed")


async def test_the_second_call_gets_the_first_answer_and_nothing_is_made(
    service: Service, http: httpx.AsyncClient
) -> None:
    first, second = await twice(http, MAKE, json={"prompt": "a"})
    assert first.json() == [1, hashlib.sha256(first.request.content).hexdigest()], "the route still reads the body"
    assert second.content == first.content
    assert (is_replayed(first), is_replayed(second)) == (False, True)
    own = {"x-request-id", "openai-processing-ms", "idempotent-replayed"}
    assert {k: v for k, v in second.headers.items() if k not in own} == {
        k: v for k, v in first.headers.items() if k not in own
    }
    assert service.made == 1


async def test_without_a_key_everything_is_made_anew(service: Service, http: httpx.AsyncClient) -> None:
    del http.headers["Idempotency-Key"]
    first, second = await twice(http, MAKE, content=b"a")
    assert (first.json()[0], second.json()[0]) == (1, 2)


async def test_another_body_is_422_and_makes_nothing(service: Service, http: httpx.AsyncClient) -> None:
    await http.post(MAKE, json={"prompt": "a"})
    answer = await http.post(MAKE, json={"prompt": "b"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (
        "idempotency_key_reused",
        "Idempotency-Key",
        "invalid_request_error",
    )
    assert service.made == 1


async def test_the_same_bytes_as_another_content_type_are_another_body(http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"{}", headers={"content-type": "application/json"})
    answer = await http.post(MAKE, content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 422


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "ключ", "a\x7f"])
async def test_a_key_that_is_none_is_400(service: Service, http: httpx.AsyncClient, key: str) -> None:
    answer = await http.post(MAKE, content=b"a", headers=[(b"Idempotency-Key", key.encode())])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert service.made == 0


async def test_a_key_given_twice_is_400_and_the_longest_key_is_none_too_long(http: httpx.AsyncClient) -> None:
    two = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    del http.headers["Idempotency-Key"]
    assert (await http.post(MAKE, content=b"a", headers=two)).status_code == 400
    first, second = await twice(http, MAKE, content=b"a", headers={"Idempotency-Key": "~" * 255})
    assert (first.status_code, is_replayed(second)) == (200, True)


@pytest.mark.parametrize(
    "other",
    [
        {"headers": {"Authorization": "Bearer someone-else"}},
        {"headers": {"X-API-Key": "someone-else"}},
        {"headers": {"Idempotency-Key": "k-2"}},
        {"params": {"model": "blip"}},
    ],
)
async def test_another_caller_key_or_query_never_gets_that_answer(http: httpx.AsyncClient, other: Any) -> None:
    await http.post(MAKE, content=b"a")
    answer = await http.post(MAKE, content=b"a", **other)
    assert (answer.json()[0], is_replayed(answer)) == (2, False)


async def test_a_caller_is_the_same_however_the_api_key_is_sent(http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"a", headers={"Authorization": "Bearer me"})
    assert is_replayed(await http.post(MAKE, content=b"a", headers={"X-API-Key": "me"}))


async def test_another_route_has_keys_of_its_own(service: Service, http: httpx.AsyncClient) -> None:
    await http.post(MAKE, content=b"2")
    assert not is_replayed(await http.post("/upload", content=b"2"))
    assert service.made == 2


async def test_routes_that_make_nothing_answer_again(http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/v1/images/search", content=b"a")
    assert (first.json()[0], second.json()[0]) == (1, 2)


async def test_a_get_is_left_alone(http: httpx.AsyncClient) -> None:
    assert [(await http.get(MAKE)).json()[0] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
async def test_what_failed_is_not_kept(service: Service, http: httpx.AsyncClient, status: int) -> None:
    service.status = status
    assert (await http.post(MAKE, content=b"a")).status_code == status
    service.status = 200
    second, third = await twice(http, MAKE, content=b"a")
    assert (second.json()[0], is_replayed(second), is_replayed(third)) == (2, False, True)


async def test_after_a_failure_the_key_is_free_for_another_body(service: Service, http: httpx.AsyncClient) -> None:
    service.status = 400
    await http.post(MAKE, content=b"a mistake")
    service.status = 200
    assert (await http.post(MAKE, content=b"mended")).status_code == 200


async def test_a_route_that_breaks_is_500_each_time(service: Service, http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/process", content=b"a")
    assert (first.status_code, second.status_code, service.made) == (500, 500, 2)


async def test_a_second_call_waits_for_the_first_and_one_thing_is_made(
    service: Service, http: httpx.AsyncClient
) -> None:
    service.may_end.clear()
    calls = [asyncio.ensure_future(http.post(MAKE, content=b"a")) for _ in range(5)]
    await service.begun.wait()
    assert not (await asyncio.wait(calls, timeout=0.3))[0]
    service.may_end.set()
    answers = await asyncio.gather(*calls)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted(is_replayed(answer) for answer in answers) == [False, True, True, True, True]
    assert service.made == 1


async def test_another_body_is_refused_while_the_first_still_runs(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    assert (await http.post(MAKE, content=b"b")).status_code == 422
    service.may_end.set()
    assert (await first).status_code == 200


async def test_when_the_first_fails_one_who_waits_makes_it(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    service.status = 503
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    second = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    assert not (await asyncio.wait([second], timeout=0.2))[0]
    service.may_end.set()
    assert (await first).status_code == 503
    service.status = 200
    assert (await second).status_code in (200, 503)  # by when it looked
    assert service.made == 2


async def test_a_first_that_is_cancelled_frees_the_key(service: Service, http: httpx.AsyncClient) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    second = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    first.cancel()
    await asyncio.wait([first])
    service.may_end.set()
    answer = await second
    assert (answer.json()[0], is_replayed(answer)) == (2, False)


async def test_one_who_leaves_while_waiting_leaves_nothing_behind(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    service.may_end.clear()
    first = asyncio.ensure_future(http.post(MAKE, content=b"a"))
    await service.begun.wait()
    left = asyncio.Event()
    messages = iter([{"type": "http.request", "body": b"a", "more_body": False}])

    async def receive() -> Any:
        if message := next(messages, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": MAKE, "query_string": b"", "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    waiting = asyncio.ensure_future(app_of(service, ledger)(scope, receive, send))
    assert not (await asyncio.wait([waiting], timeout=0.2))[0]
    left.set()
    await waiting
    assert sent == []
    service.may_end.set()
    assert (await first).status_code == 200
    assert service.made == 1


async def test_an_answer_outlives_its_server_and_is_shared_by_its_neighbours(
    service: Service, ledger: Ledger, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    first = await http.post(MAKE, content=b"a")
    neighbour = Ledger(tmp_path / "idempotency", 2**30)
    async with client_of(app_of(service, neighbour)) as other:
        second = await other.post(MAKE, content=b"a")
        assert (second.content, is_replayed(second)) == (first.content, True)
        service.may_end.clear()
        service.begun.clear()
        third = asyncio.ensure_future(http.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-3"}))
        await service.begun.wait()
        fourth = asyncio.ensure_future(other.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-3"}))
        assert not (await asyncio.wait([fourth], timeout=0.2))[0]
        service.may_end.set()
        assert (await third).content == (await fourth).content
    neighbour.close()
    assert service.made == 2


async def test_a_form_sent_again_with_another_boundary_is_the_same_body(
    service: Service, http: httpx.AsyncClient
) -> None:
    parts: dict[str, Any] = {"image": ("a.png", b"\x89PNG\r\n--", "image/png"), "prompt": (None, "a")}
    first, second = await twice(http, "/v1/images", files=parts)
    assert first.request.headers["content-type"] != second.request.headers["content-type"]
    assert first.json() == [1, ["image", "prompt"]]
    assert (second.content, is_replayed(second)) == (first.content, True)
    parts["image"] = ("a.png", b"\x89PNG\r\n-", "image/png")
    assert (await http.post("/v1/images", files=parts)).status_code == 422


async def test_a_stream_is_given_again_as_it_was_sent(service: Service, http: httpx.AsyncClient) -> None:
    asked = {"events": [{"text": "a"}, {"text": 'he said "error"'}]}
    first, second = await twice(http, "/v1/chat/completions", json=asked)
    assert first.content.count(b"data: ") == 2
    assert (second.content, second.headers["content-type"]) == (first.content, first.headers["content-type"])
    assert is_replayed(second)


async def test_a_stream_begins_before_it_is_whole(service: Service, ledger: Ledger) -> None:
    service.may_end.clear()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    body = json.dumps({"events": [{"text": "a"}]}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(messages, None) or await asyncio.Event().wait()

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
        "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    running = asyncio.ensure_future(app_of(service, ledger)(scope, receive, sent.put))
    assert (await sent.get())["type"] == "http.response.start"
    assert b'{"text": "a"}' in (await sent.get())["body"]
    assert not running.done()
    service.may_end.set()
    await running


@pytest.mark.parametrize(
    "asked",
    [
        {"events": [{"text": "a"}, {"error": {"message": "out of memory"}}]},
        {"events": [{"type": "error", "error": {"message": "x"}}]},
        {"events": [{"text": "a"}], "breaks": True},
    ],
)
async def test_a_stream_that_failed_is_not_kept(service: Service, http: httpx.AsyncClient, asked: Any) -> None:
    for _ in range(2):
        try:
            assert not is_replayed(await http.post("/v1/chat/completions", json=asked))
        except RuntimeError:
            assert "breaks" in asked
    assert service.made == 2


async def test_a_file_is_given_again_and_one_that_is_too_large_is_made_anew(
    service: Service, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await twice(http, "/upload", content=b"200000")
    assert (len(second.content), second.content, is_replayed(second)) == (200_000, first.content, True)
    monkeypatch.setattr(idempotency, "MAX_ANSWER_BYTES", 1000)
    first, second = await twice(http, "/upload", content=b"1001", headers={"Idempotency-Key": "k-4"})
    assert (len(first.content), len(second.content), is_replayed(second)) == (1001, 1001, False)
    assert service.made == 3


async def test_a_body_that_no_route_takes_reaches_the_route_whole_and_is_not_kept(
    service: Service, http: httpx.AsyncClient
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * (LIMIT // 4)

    whole = hashlib.sha256(b"x" * (LIMIT // 4 * 5)).hexdigest()
    answers = [await http.post(MAKE, content=chunks()) for _ in range(2)]
    assert [answer.json() for answer in answers] == [[1, whole], [2, whole]]


async def test_a_body_in_pieces_is_the_body_in_one(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"c"

    await http.post(MAKE, content=b"abc")
    assert is_replayed(await http.post(MAKE, content=chunks()))


async def test_the_names_of_ignored_fields_are_told_again(http: httpx.AsyncClient) -> None:
    first, second = await twice(http, "/v1/voice/generate", content=b"a")
    assert first.headers.get_list("x-ignored-parameters") == ["frames"]
    assert second.headers.get_list("x-ignored-parameters") == ["frames"]
    assert is_replayed(second)


async def test_a_caller_whose_connection_breaks_finds_the_answer_with_the_next_call(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    messages = iter([{"type": "http.request", "body": b"a", "more_body": False}])

    async def receive() -> Any:
        return next(messages, None) or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise OSError("the connection is closed")

    scope = {
        "type": "http", "method": "POST", "path": MAKE, "query_string": b"", "headers": [(b"idempotency-key", b"k-1")],
    }  # fmt: skip
    with pytest.raises(OSError, match="closed"):
        await app_of(service, ledger)(scope, receive, send)
    again = await http.post(MAKE, content=b"a")
    assert (again.json()[0], is_replayed(again), service.made) == (1, True, 1)


async def test_a_disk_that_cannot_keep_answers_costs_nobody_theirs(
    service: Service, ledger: Ledger, http: httpx.AsyncClient
) -> None:
    await http.post(MAKE, content=b"a")
    ledger.close()
    answer = await http.post(MAKE, content=b"b", headers={"Idempotency-Key": "k-2"})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "STORE_FAILED"
    assert service.made == 1
