"""Pictures as they come into being: the events of a request that makes them, with a bar and what is there so far."""

from __future__ import annotations

import asyncio
import base64
import binascii
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.server import CommandError, Refused, Server
from cli.terminal import Frame, protocol

_PARTIAL_IMAGES: Final = 3
_FIRST_LOOK_SECONDS: Final = 0.3
_LONGEST_PAUSE_SECONDS: Final = 3.0
"""Between two looks at a job: each of them counts as a request of the caller."""


@dataclass(frozen=True)
class Drawn:
    """A finished picture. `index` counts from 0."""

    index: int
    seed: int | None
    size: str
    content: bytes


class _Job(BaseModel):
    step: int | None = None
    steps: int | None = None


class Easel:
    """A bar by steps, and above it the picture so far, on stderr; nothing where that is no terminal."""

    def __init__(self, doing: str, *, shows_pictures: bool) -> None:
        how = protocol(sys.stderr) if shows_pictures else None
        self.frame = Frame(sys.stderr, how) if how else None
        console = Console(stderr=True)
        self.is_seen = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not self.is_seen)
        self._task = self._bar.add_task(doing, total=None)

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Show the bar while the body runs."""
        with self._bar:
            yield

    def advance(self, step: int, steps: int) -> None:
        """So many steps are done, of all pictures together."""
        self._bar.update(self._task, completed=step, total=steps)

    def show(self, picture: bytes) -> None:
        """Show a picture in place of the one before."""
        if self.frame is not None:
            self._bar.stop()
            self.frame.show(picture)
            self._bar.start()


async def draw(
    server: Server, looking: Server, path: str, content: dict[str, Any], easel: Easel, keep: Callable[[Drawn], None]
) -> None:
    """Have pictures made, and pass each on as soon as it is finished. When this is cancelled, so is the work.

    `looking` is another client of the same server, without patience, for looks at the job. The `json` or `data` in
    `content`, which is what `httpx` takes, are the fields of the request.

    Raises:
        CommandError: the server refuses or breaks off.
    """
    job = f"cli-{uuid.uuid4().hex}"
    fields: dict[str, Any] = content.get("json") or content["data"]
    several = int(fields.get("n", 1)) > 1
    fields["stream"] = "true" if "data" in content else True
    if easel.frame is not None and not several:
        fields["partial_images"] = _PARTIAL_IMAGES
    watching = asyncio.create_task(_watch(looking, job, easel)) if easel.is_seen else None
    has_ended = False
    try:
        async with aclosing(server.events(path, headers={"x-request-id": job}, **content)) as events:
            async for event in events:
                picture = _decoded(event, server.url)
                easel.show(picture)
                if str(event.get("type")).endswith(".completed"):
                    if easel.frame is not None and several:
                        easel.frame.close()
                    keep(Drawn(int(event.get("image_index", 0)), event.get("seed"), str(event.get("size")), picture))
                    has_ended = True
    finally:
        if watching is not None:
            watching.cancel()
    if not has_ended:
        raise CommandError(f"the server at {server.url} broke off before there was a picture")


async def _watch(server: Server, job: str, easel: Easel) -> None:
    """Move the bar by what the job says of itself. Nothing depends on it, so the first failure ends it."""
    pause = _FIRST_LOOK_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
        try:
            found = await server.ask(_Job, "GET", f"/v1/jobs/{job}")
        except Refused as error:
            if error.http_status != 404:
                return
            continue  # it waits for its turn
        except CommandError:
            return
        if found.step is not None and found.steps:
            easel.advance(found.step, found.steps)


def _decoded(event: dict[str, Any], url: str) -> bytes:
    try:
        return base64.b64decode(event["b64_json"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise CommandError(f"what answers at {url} is no Atelier server, or one of another version") from None
