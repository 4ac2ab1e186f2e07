"""Room for request bodies: who gets it, who waits, who is refused, and that all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from deployments.ingress.admission.turns import current_caller
from deployments.ingress.errors import ApiError
from deployments.ingress.middleware import bodies
from deployments.ingress.middleware.bodies import Body, Room, room_of_this_machine
from tests.api.pictures import png
from tests.deployments.apps import client, fault, listening, make_app
from tests.stores.disks import full_disk

MIB = 2**20


class Sender:
    """A client that sends pieces when the test says so."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, size: int, *, more: bool = True) -> None:
        self.messages.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})

    def body(self, room: Room, declared: int | None, limit: int = 64 * MIB) -> Body:
        return Body(room, self.messages.get, declared, limit)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def refusal(work: Any) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as refused:
        await work
    assert "Retry-After" in refused.value.headers
    return refused.value.status, refused.value.code


async def test_a_body_has_its_room_before_it_is_read_and_until_its_request_is_answered() -> None:
    room, first, second = Room(10 * MIB), Sender(), Sender()
    one, two = first.body(room, 6 * MIB), second.body(room, 6 * MIB)
    first.send(6 * MIB, more=False)
    second.send(6 * MIB, more=False)
    await one.receive()
    waiting = asyncio.create_task(two.receive())
    await settled()
    assert (waiting.done(), second.messages.qsize()) == (False, 1)
    one.close()
    assert len((await waiting)["body"]) == 6 * MIB
    two.close()
    assert room.free == 10 * MIB


async def test_callers_get_room_in_turn() -> None:
    room = Room(MIB)
    served: list[str] = []

    async def ask(who: str) -> None:
        current_caller.set(who)
        await room.take(MIB)
        served.append(who)

    tasks = []
    for who in ("ann", "ann", "ann", "ann", "bob"):
        tasks.append(asyncio.create_task(ask(who)))
        await settled()
    for _ in tasks:
        await settled()
        room.give(MIB)
    await asyncio.gather(*tasks)
    assert served == ["ann", "ann", "ann", "bob", "ann"]


async def test_room_that_does_not_come_in_time_is_a_503_whose_body_was_not_read() -> None:
    room, sender = Room(MIB, patience=0.01), Sender()
    await room.take(MIB)
    sender.send(MIB, more=False)
    assert await refusal(sender.body(room, MIB).receive()) == (503, "queue_timeout")
    assert sender.messages.qsize() == 1
    room.give(MIB)
    assert room.free == MIB


async def test_a_client_that_sends_all_of_a_refused_body_before_it_reads_gets_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "Room", partial(Room, patience=0.1))
    app = make_app(tmp_path, {"ATELIER_BODIES_MAX_BYTES": str(2 * MIB)})
    async with listening(app) as url:
        port = int(url.rpartition(":")[2])
        reader, holder = await asyncio.open_connection("127.0.0.1", port)
        holder.write(_head(2 * MIB, "Expect: 100-continue"))
        await reader.readuntil(b"\r\n\r\n")  # it has all the room, and sends nothing
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):  # on one connection
            writer.write(_head(40 * MIB))
            for _ in range(40):
                writer.write(bytes(MIB))
                await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 503"), head
            assert "retry-after:" in head
            await reader.readexactly(int(head.partition("content-length: ")[2].split("\r\n")[0]))
        holder.close()
        writer.close()


def _head(length: int, *lines: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=b"
    head = ("POST /upload HTTP/1.1", "Host: a", kind, f"Content-Length: {length}", *lines, "", "")
    return "\r\n".join(head).encode()


async def test_too_many_that_wait_for_room_are_a_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_LONGEST_QUEUE", 1)
    room = Room(MIB)
    await room.take(MIB)
    waiting = [asyncio.create_task(room.take(1)) for _ in range(2)]
    await settled()
    assert await refusal(room.take(1)) == (429, "rate_limit_exceeded")
    room.give(MIB)
    await asyncio.gather(*waiting)


async def test_a_body_that_is_larger_than_all_room_goes_alone() -> None:
    room, sender = Room(MIB), Sender()
    body = sender.body(room, 3 * MIB)
    sender.send(3 * MIB, more=False)
    await body.receive()
    assert room.free == 0
    body.close()
    assert room.free == MIB


async def test_a_body_of_unknown_length_grows_and_two_that_grow_never_wait_for_each_other() -> None:
    room, first, second = Room(4 * MIB), Sender(), Sender()
    one, two = first.body(room, None), second.body(room, None)
    for sender, body in ((first, one), (second, two)):
        for _ in range(2):
            sender.send(MIB)
            await body.receive()
    assert room.free == 0
    first.send(MIB)
    growing = asyncio.create_task(one.receive())
    await settled()
    assert not growing.done()
    second.send(MIB)
    second.send(0, more=False)
    assert await refusal(two.receive()) == (503, "busy")
    await growing
    one.close()
    two.close()
    assert room.free == 4 * MIB


async def test_one_that_crawls_is_given_up_only_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(bodies, "_SLOW_AFTER_SECONDS", 0.0)
    room, sender = Room(MIB), Sender()
    crawling = sender.body(room, MIB)
    sender.send(10)
    await crawling.receive()
    next_piece = asyncio.create_task(crawling.receive())
    await asyncio.wait([next_piece], timeout=0.1)
    assert not next_piece.done()
    other = asyncio.create_task(room.take(MIB))
    await settled()
    assert await refusal(next_piece) == (408, "request_timeout")
    await other


async def test_a_client_that_leaves_in_the_middle_gives_its_room_back() -> None:
    room, sender = Room(MIB), Sender()
    body = sender.body(room, MIB)
    sender.send(10)
    sender.leave()
    await body.receive()
    assert (await body.receive())["type"] == "http.disconnect"
    body.close()
    assert room.free == MIB


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_uploads_wait_for_uploads_and_no_question_waits_for_them(tmp_path: Path, *, is_chunked: bool) -> None:
    app = make_app(tmp_path, {"ATELIER_BODIES_MAX_BYTES": str(2 * MIB)})
    begun, may_end = asyncio.Event(), asyncio.Event()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    whole = head + png() + bytes(MIB) + b"\r\n--b--\r\n"

    async def slowly() -> AsyncIterator[bytes]:
        yield whole[:MIB]
        begun.set()
        await may_end.wait()
        yield whole[MIB:]

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    if not is_chunked:
        headers["Content-Length"] = str(len(whole))
    async with client(app) as http:
        first = asyncio.create_task(http.post("/upload", content=slowly(), headers=headers))
        await begun.wait()
        second = asyncio.create_task(http.post("/upload", content=whole, headers=headers))
        large = {"model": "nobody", "messages": [{"role": "user", "content": "x" * (MIB // 2)}]}
        assert fault(await http.post("/v1/chat/completions", json=large))[0] == 404
        assert not second.done()
        may_end.set()
        assert [(await each).status_code for each in (first, second)] == [200, 200]


def test_a_machine_gives_bodies_a_bounded_part_of_its_memory() -> None:
    assert 2**20 <= room_of_this_machine() <= 192 * MIB


async def test_a_full_disk_for_temporary_files_is_a_507(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with full_disk(tmp_path / "tmp"):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        async with client(make_app(tmp_path / "home")) as http:
            answer = await http.post("/upload", files={"file": ("a.png", png() + bytes(3 * MIB))})
    assert isinstance(answer, httpx.Response)
    assert fault(answer) == (507, "STORE_FULL", None)
