"""`Idempotency-Key`: a POST that is sent again gets the first answer instead of making the thing twice.

A request is known by who sends it, where to, and its key. While it runs its claim is held, so that a second one waits,
in whichever ingress replica it arrives; its answer is kept before its last byte is sent, so that a caller whose
connection broke meanwhile finds it (`ledgers.py`). Only what was made is kept: an
answer below 400 that came to its end. After anything else the next request with the key is executed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.executors import ExecutorFull
from deployments.ingress.errors import ApiError, from_exception, invalid, response
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.middleware.ledgers import Ledger, Releasable
from deployments.ingress.middleware.request_context import ignored_parameters
from deployments.ingress.policy import Policy, policy_of
from deployments.ingress.prefer import HEADER as PREFER
from deployments.ingress.prefer import RESPOND_ASYNC, prefers_async
from stores.answers import Answer
from stores.claims import Held
from stores.errors import StoreError

logger = logging.getLogger("ray.serve")

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
DESCRIPTION: Final = (
    "1 to 255 visible ASCII characters. The same request with the same key within 24 hours gets the first answer again "
    f"(`{REPLAYED}: true`) and makes nothing; with another body it is refused (422 `idempotency_key_reused`). "
    "An answer of more than 64 MiB is not kept."
)
MAX_ANSWER_BYTES: Final = 64 * 2**20
"""A longer response is sent but not stored, so a second request is executed again."""
_LOOK_AGAIN_SECONDS: Final = 0.1
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def takes_key(method: str, policy: Policy) -> bool:
    """Whether a route takes an `Idempotency-Key` from requests of this method."""
    return method == "POST" and policy.is_repeatable


class Idempotency:
    """Gives POSTs with an `Idempotency-Key` their meaning. Stands inside `Keys`, which has checked their callers."""

    def __init__(self, app: ASGIApp, ledger: Ledger, max_body: int) -> None:
        self.app = app
        self._ledger = ledger
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        keys = Headers(scope=scope).getlist(HEADER) if scope["type"] == "http" else []
        if not keys or not takes_key(scope["method"], policy_of(scope)):
            await self.app(scope, receive, send)
            return
        try:
            if len(keys) > 1 or _KEY.fullmatch(keys[0]) is None:
                shown = f"given {len(keys)} times" if len(keys) > 1 else repr(keys[0][:60])
                raise invalid(HEADER, f"{HEADER}: {shown}; allowed are 1 to 255 visible ASCII characters, once")
            body = await _read(scope, receive, self._max_body)
            if not body.is_whole:  # the route refuses it in its own words, and a refusal is not kept
                await self.app(scope, body.then(receive), send)
                return
            await self._answer(scope, body, receive, send, _name(scope, keys[0]))
        except (ApiError, ExecutorFull, StoreError) as error:
            # These come before any work and any answer: what the route itself raises was answered inside.
            await response(from_exception(error), scope)(scope, receive, send)

    async def _answer(self, scope: Scope, body: _Body, receive: Receive, send: Send, name: str) -> None:
        digest = body.digest
        left = asyncio.ensure_future(receive())  # the body is read: what may come now is the caller's leaving
        try:
            begun = await self._ledger.begin(name, digest)
            while isinstance(begun, Held):
                _refuse_another(digest, begun.mark)
                if (await asyncio.wait([left], timeout=_LOOK_AGAIN_SECONDS))[0]:
                    raise ClientDisconnect
                begun = await self._ledger.begin(name, digest, again=True)
            if isinstance(begun, Answer):
                _refuse_another(digest, begun.digest)
                headers = [*begun.headers, (REPLAYED.lower().encode(), b"true")]
                await send({"type": "http.response.start", "status": begun.status, "headers": headers})
                await send({"type": "http.response.body", "body": begun.body})
            else:
                recorder = _Recorder(self._ledger, name, digest, begun, scope, send)
                try:
                    await self.app(scope, body.then(lambda: asyncio.shield(left)), recorder.send)
                finally:
                    await recorder.release()
        finally:
            left.cancel()


class _Recorder:
    """Sends an answer on and keeps it, if it is one to keep."""

    def __init__(self, ledger: Ledger, name: str, digest: bytes, claim: Releasable, scope: Scope, send: Send) -> None:
        self._ledger, self._name, self._digest, self._claim = ledger, name, digest, claim
        self._scope, self._send = scope, send
        self._start: Message | None = None
        self._unsent: Message | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._may_be_kept = True
        self._handed_over = False

    async def release(self) -> None:
        """Let others go on; nothing when the ledger does so."""
        if not self._handed_over:
            self._handed_over = True
            await self._ledger.release(self._claim)

    async def send(self, message: Message) -> None:
        """The inner application's `send`."""
        match message["type"]:
            case "http.response.start":
                self._start = message
                self._may_be_kept = message["status"] < 400
                # The start of an answer that exists as a whole waits for its body, which is so kept before anything
                # is sent that could fail. The start of a stream goes out at once: clients wait for it.
                if self._may_be_kept and "content-length" in Headers(raw=message["headers"]):
                    self._unsent = message
                    return
            case "http.response.body":
                self._record(message.get("body", b""))
                if not message.get("more_body", False):
                    if self._may_be_kept:
                        await self._keep()
                    await self.release()  # before the caller knows, and comes again
            case _:  # an extension that sends what is not seen here
                self._may_be_kept = False
        if self._unsent is not None:
            start, self._unsent = self._unsent, None
            await self._send(start)
        await self._send(message)

    def _record(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > MAX_ANSWER_BYTES and self._may_be_kept:
            logger.info("an answer of more than %d bytes is not kept for its %s", MAX_ANSWER_BYTES, HEADER)
            self._may_be_kept = False
            self._chunks.clear()
        if self._may_be_kept:
            self._chunks.append(chunk)

    async def _keep(self) -> None:
        assert self._start is not None
        body = b"".join(self._chunks)
        headers = [(bytes(name).lower(), bytes(value)) for name, value in self._start["headers"]]
        if Headers(raw=headers).get("content-type", "").startswith("text/event-stream") and _tells_an_error(body):
            return
        headers += ignored_parameters(self._scope)  # added outside of here, from what a replay will not know
        answer = Answer(self._digest, self._start["status"], tuple(headers), body)
        self._handed_over = True
        await self._ledger.end(self._name, self._claim, answer)


@dataclass(frozen=True)
class _Body:
    """The request's body as it arrived; not whole when it is larger than any route takes."""

    messages: deque[Message]
    digest: bytes
    is_whole: bool

    def then(self, receive: Receive) -> Receive:
        """A `receive` that gives these messages first, and keeps none of them: a body is there once."""

        async def again() -> Message:
            return self.messages.popleft() if self.messages else await receive()

        return again


async def _read(scope: Scope, receive: Receive, limit: int) -> _Body:
    messages: deque[Message] = deque()
    headers = Headers(scope=scope)
    digest = _Digest(headers.get("content-type", ""), is_for_later=prefers_async(headers))
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        messages.append(message)
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            return _Body(messages, b"", is_whole=False)
        digest.update(piece)
        if not message.get("more_body", False):
            return _Body(messages, digest.whole(), is_whole=True)


class _Digest:
    """What two requests that say the same have in common: clients choose another multipart boundary for every try.

    One that waits for its answer and one that prefers a job (202) do not: each would get what it cannot read.
    """

    def __init__(self, content_type: str, *, is_for_later: bool = False) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        self._line = b"--" + boundary if boundary else b""
        self._hash = hashlib.sha256(kind.lower() + (b"\0later\0" if is_for_later else b"\0"))
        self._end = b""
        """What may be the beginning of a boundary."""

    def update(self, piece: bytes) -> None:
        if not self._line:
            self._hash.update(piece)
            return
        *before, rest = (self._end + piece).split(self._line)
        for each in before:
            self._hash.update(each)
            self._hash.update(b"--")
        whole = max(0, len(rest) - len(self._line) + 1)
        self._hash.update(rest[:whole])
        self._end = rest[whole:]

    def whole(self) -> bytes:
        self._hash.update(self._end)
        return self._hash.digest()


def _name(scope: Scope, key: str) -> str:
    """What one request and its repetitions have in common; another caller's never has it."""
    parts = [caller_of(scope).digest, scope["method"], scope["path"], scope["query_string"].decode("latin-1"), key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _refuse_another(digest: bytes, first: bytes) -> None:
    if digest != first:
        message = (
            f"{HEADER}: this key was used for another request body, or with another {PREFER}: {RESPOND_ASYNC}; "
            "allowed are those, or another key"
        )
        raise ApiError(422, message, code="idempotency_key_reused", param=HEADER)


def _tells_an_error(events: bytes) -> bool:
    """Whether an event stream, whose status was sent before its work, tells of a failure."""
    for line in events.splitlines():
        name, _, value = line.partition(b":")
        if name == b"event" and value.strip() == b"error":
            return True
        if name == b"data" and b'"error"' in value:
            try:
                event = json.loads(value)
            except ValueError:
                continue  # of one event's several lines, or no JSON: not how our routes tell errors
            if isinstance(event, dict) and event.get("error"):
                return True
    return False
