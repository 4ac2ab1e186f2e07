"""A running server, seen by the commands that are its clients: asked with patience, and quoted when it refuses."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from asyncio import sleep
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel, RootModel, ValidationError

import settings
from cli.environment import MISTAKE
from cli.up import Address, port_number

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)

PATIENCE_SECONDS: Final = 120.0
"""How long one request is tried again while the server is busy or away; a restart takes some ten seconds."""

# A request may wait for a model to start; the server itself gives up after ATELIER_START_TIMEOUT (120 s).
_TIMEOUT = httpx.Timeout(300, connect=10)
_NOTE_SECONDS = 15.0
_COMES_BACK = (429, 502, 503, 504)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class CommandError(Exception):
    """What ends a command; `str(error)` is one line for the person who gave it."""

    status = 1
    """The command's exit status."""


class Mistake(CommandError):
    """Something that only the person can put right."""

    status = MISTAKE


class Refused(CommandError):
    """The server's no, in its own words. `http_status` and `code` are those of the answer."""

    def __init__(self, message: str, http_status: int, code: str | None = None) -> None:
        super().__init__(message)
        self.http_status, self.code = http_status, code
        self.status = MISTAKE if 400 <= http_status < 500 else 1


class NoRoute(Refused):
    """An Atelier server that does not have the route: an older one, or one without what it serves."""


class Answer(RootModel[dict[str, Any]]):
    """A JSON object, whatever the server says in it."""


class _Busy(Exception):
    """The server asks to be asked again, after so many seconds if it says when."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class _NotThere(Exception):
    """What answers has no such routes: it is no Atelier, or it is on its way up or down and has none yet."""


class Server:
    """An HTTP client that is closed at the end of an `async with`.

    Every method tries again, for `patience` seconds, while the server is busy (429, 502, 503, 504) or has gone away;
    one that has never answered is not waited for. They raise:
        Refused: the server says no.
        CommandError: nothing answers, the server stays busy or away, or is no Atelier.
    """

    def __init__(self, url: str, key: str | None = None, *, patience: float = PATIENCE_SECONDS, jobs: int = 1) -> None:
        self.url = url
        self._patience = patience
        self._has_answered = False
        self._noted_at = -math.inf
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=jobs),
            # A proxy of the network does not reach this machine's loopback.
            trust_env=httpx.URL(url).host not in _LOOPBACK,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, answer: type[Model], method: str, path: str, **content: Any) -> Model:
        """The answer of a route; `content` is what `httpx.AsyncClient.request` takes. An open file is sent whole."""

        async def attempt() -> httpx.Response:
            response = await self._http.request(method, path, **content)
            await self._check(response)
            return response

        response = await self._patiently(attempt)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError:
            raise CommandError(f"what answers at {self.url} is no Atelier server, or one of another version") from None

    async def download(self, path: str, target: Path, method: str = "GET", **content: Any) -> str:
        """Write what a route gives, or leads to, into a file as it comes; its SHA-256 in hexadecimal digits.

        Raises:
            CommandError: also when the file cannot be written. What there is of it is the caller's to remove.
        """

        async def attempt() -> str:
            digest = hashlib.sha256()
            # On the way to another host, such as a bucket's, httpx leaves the key behind.
            async with self._http.stream(method, path, follow_redirects=True, **content) as response:
                await self._check(response)
                try:
                    with target.open("wb") as file:
                        async for chunk in response.aiter_bytes():
                            file.write(chunk)
                            digest.update(chunk)
                except OSError as error:
                    raise CommandError(f"cannot write {target}: {error.strerror}") from None
            return digest.hexdigest()

        return await self._patiently(attempt)

    async def events(self, path: str, **content: Any) -> AsyncGenerator[dict[str, Any], None]:
        """The data of the server-sent events of a POST, as they come; `aclose` ends the work on the server too.

        Only the request is tried again: what has begun is not begun twice.

        Raises:
            CommandError: also when the stream breaks off, or says that the work has failed.
        """

        async def attempt() -> httpx.Response:
            response = await self._http.send(self._http.build_request("POST", path, **content), stream=True)
            try:
                await self._check(response)
            except BaseException:  # whatever it is: nobody else has the response
                await response.aclose()
                raise
            return response

        response = await self._patiently(attempt)
        try:
            async for line in response.aiter_lines():
                data = line.removeprefix("data:").strip()
                if not line.startswith("data:"):  # names of events, comments, the blank lines between
                    continue
                if data == "[DONE]":
                    return
                event = json.loads(data)
                if error := event.get("error"):
                    raise Refused(str(error["message"]), response.status_code, error.get("code"))
                yield event
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise CommandError(f"the server at {self.url} broke off in the middle ({said})") from None
        except (ValueError, LookupError, AttributeError):
            raise CommandError(f"what answers at {self.url} is no Atelier server, or one of another version") from None
        finally:
            await response.aclose()

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        deadline = math.inf
        for pause in _pauses():
            seconds = pause
            try:
                return await attempt()
            except (httpx.TransportError, _NotThere) as error:
                said = str(error) or type(error).__name__
                if not self._has_answered:
                    raise CommandError(
                        f"no server answers at {self.url} ({said}); start one with `make run`, or name it by --server"
                    ) from None
                reason = f"the server at {self.url} does not answer ({said})"
            except httpx.RequestError as error:  # redirects without end, a broken encoding: no use in trying again
                raise CommandError(f"what answers at {self.url} makes no sense: {error}") from None
            except _Busy as busy:
                reason, seconds = f"the server at {self.url} is busy ({busy})", busy.seconds or pause
            now = time.monotonic()
            deadline = min(deadline, now + self._patience)
            if now >= deadline:
                raise CommandError(f"{reason}, for {self._patience:g} s now")
            if now - self._noted_at > _NOTE_SECONDS:
                self._noted_at = now
                print(f"{reason}; waiting", file=sys.stderr, flush=True)
            await sleep(min(seconds, deadline - now))
        raise AssertionError("pauses never end")

    async def _check(self, response: httpx.Response) -> None:
        """Raises `_Busy`, `_NotThere` or `Refused` for anything but success."""
        if response.is_success:
            self._has_answered = True
            return
        await response.aread()
        code = None
        try:
            error = response.json()["error"]
            message, code = str(error["message"]), error["code"]
        except (ValueError, LookupError, TypeError):  # not in Atelier's words
            message = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
            if response.status_code == 404:
                raise _NotThere(message) from None
        self._has_answered = True
        if response.status_code in _COMES_BACK and response.headers.get("x-should-retry") != "false":
            after = response.headers.get("retry-after", "")
            raise _Busy(message, float(after) if after.isdecimal() else None)
        if response.status_code in (401, 403):
            message += " (the key that is sent is that of ATELIER_API_KEY, unless another was named)"
        if response.status_code == 404 and code is None:
            route = f"{response.request.method} {response.request.url.path}"
            raise NoRoute(f"the server at {self.url} has no {route}; it is of another version", 404)
        raise Refused(message, response.status_code, code)


def server_url(given: str | None) -> str:
    """Where the server is: the URL given, else HOST and PORT as `atelier up` understands them.

    Raises:
        Mistake: that is no URL, or no port.
    """
    if not given:
        try:
            port = settings.variable(os.environ, "PORT") or settings.variable(os.environ, "GATEWAY_PORT") or "8000"
            return Address(os.environ.get("HOST") or "127.0.0.1", port_number("PORT", port)).url
        except settings.ConfigurationError as error:
            raise Mistake(str(error)) from None
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise Mistake(f"--server: {given!r}: a URL such as http://127.0.0.1:8000 is needed")
    return str(url).rstrip("/")


def api_key(given: str | None = None) -> str | None:
    """The key that is sent: the one given (`--key`), else that of ATELIER_API_KEY.

    Raises:
        Mistake: it cannot stand in a header. It is not repeated.
    """
    key = (os.environ.get("ATELIER_API_KEY", "") if given is None else given).strip()
    if not key.isascii() or not key.isprintable():
        raise Mistake(f"{'ATELIER_API_KEY' if given is None else '--key'}: a key of visible ASCII characters is needed")
    return key or None


def _pauses() -> Iterator[float]:
    seconds = 0.5
    while True:
        yield seconds
        seconds = min(2 * seconds, 8.0)
