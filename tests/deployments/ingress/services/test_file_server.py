"""The client of an outside file server, against servers that do not do what they should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from deployments.ingress.errors import ApiError
from deployments.ingress.services.file_server import FileServer


@asynccontextmanager
async def answering(status: str, body: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives one answer to everything; its address, and the requests it had."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        requests.append(head + await reader.readexactly(length))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()

    async with serving(answer) as url:
        yield url, requests


@asynccontextmanager
async def serving(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """The address of a server whose connections have all ended when this ends."""
    connections: list[asyncio.Task[None] | None] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        try:
            await answer(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in connections if task is not None), return_exceptions=True)


async def refusal(server: FileServer) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as caught:
        await server.upload(b"picture", "a.png")
    return caught.value.status, caught.value.code


async def test_the_picture_is_sent_as_the_file_of_a_form_and_the_answer_made_absolute() -> None:
    async with answering("200 OK", '{"url": "/i/abc.png"}') as (url, requests):
        assert await FileServer(f"{url}/").upload(b"the picture", "a.png") == f"{url}/i/abc.png"
    assert requests[0].startswith(b"POST /upload HTTP/1.1")
    assert b'name="file"; filename="a.png"' in requests[0]
    assert b"the picture" in requests[0]


async def test_a_url_that_is_absolute_already_stays() -> None:
    async with answering("200 OK", '{"url": "https://cdn.test/abc.png"}') as (url, _):
        assert await FileServer(url).upload(b"picture", "a.png") == "https://cdn.test/abc.png"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", "not json"),
        ("200 OK", "[]"),
        ("200 OK", "{}"),
        ("200 OK", '{"url": null}'),
        ("200 OK", '{"url": ""}'),
        ("200 OK", '{"url": "javascript:alert(1)"}'),
        ("302 Found", "{}"),
        ("413 Content Too Large", '{"url": "/i/x"}'),
        ("500 Internal Server Error", '{"url": "/i/x"}'),
    ],
)
async def test_an_answer_without_a_picture_is_502(status: str, body: str) -> None:
    async with answering(status, body) as (url, _):
        assert await refusal(FileServer(url)) == (502, "FILE_SERVER_FAILED")


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity", "415 Unsupported Media Type"])
async def test_a_server_that_misses_the_file_takes_uploads(status: str) -> None:
    async with answering(status, "") as (url, requests):
        await FileServer(url).check()
    assert requests[0].startswith(b"POST /upload HTTP/1.1")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "405 Method Not Allowed"])
async def test_a_server_that_takes_no_uploads_of_ours_is_found_out_before_any_work(status: str) -> None:
    async with answering(status, "") as (url, _):
        with pytest.raises(ApiError) as caught:
            await FileServer(url).check()
    assert (caught.value.status, caught.value.code) == (502, "FILE_SERVER_FAILED")


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable"])
async def test_a_server_that_answers_5xx_is_away(status: str) -> None:
    async with answering(status, "") as (url, _):
        with pytest.raises(ApiError) as caught:
            await FileServer(url).check()
    assert (caught.value.status, caught.value.code) == (503, "FILE_SERVER_UNREACHABLE")


async def test_a_server_that_never_answers_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(silent) as url:
        assert await refusal(FileServer(url, timeout=httpx.Timeout(0.1))) == (503, "FILE_SERVER_UNREACHABLE")
