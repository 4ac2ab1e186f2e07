"""Pictures on their way into a project: which files of a folder they are, sent side by side, counted and noted."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cli.journal import FileState, Journal
from cli.progress import Advance, side_by_side
from cli.project import Project, ProjectNotFound
from cli.server import Refused

SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp")

_OF_ONE_FILE: Final = (400, 413, 415, 422)
_OF_ONE_FILE_TOO: Final = ("INFERENCE_FAILED", "internal_error")


@dataclass(frozen=True)
class Picture:
    """A file to send, and the name it goes by. With `sha256` only these bytes are sent.

    `old_id` is what it was called where it was exported.
    """

    path: Path
    filename: str
    sha256: str | None = None
    old_id: str | None = None


@dataclass
class Tally:
    """What became of the pictures so far. `skipped` were sent by an earlier command."""

    total: int = 0
    added: int = 0
    already_there: int = 0
    skipped: int = 0
    refused: list[str] = field(default_factory=list)

    def refuse(self, path: str | Path, reason: str) -> None:
        """Note what a picture was not taken for."""
        self.refused.append(f"{shown(path)}: {reason}")

    @property
    def done(self) -> int:
        """How many have been dealt with."""
        return self.added + self.already_there + self.skipped + len(self.refused)

    @property
    def failures(self) -> list[str]:
        """What did not work, a line each."""
        return self.refused

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total} pictures: {self.added} added, {self.already_there} already there, "
            f"{self.skipped} skipped (sent before), {len(self.refused)} refused"
        )


class Uploader:
    """Sends pictures and keeps count. What has been sent from the same file before is not even read."""

    def __init__(self, project: Project, journal: Journal, tally: Tally) -> None:
        self._project, self._journal, self._tally = project, journal, tally
        self._there: set[str] = set()

    async def begin(self) -> None:
        """Ask what is in the project; also finds out whether the server lets us in.

        Raises:
            CommandError: it does not, or nothing answers.
        """
        try:
            async for page in self._project.pages():
                if self._journal.is_empty:
                    return
                self._there.update(record.id for record in page)
        except ProjectNotFound:
            pass  # the first picture makes it

    async def send(
        self, pictures: Iterable[Picture], jobs: int, advance: Advance, arrived: Callable[[Picture, str], None]
    ) -> None:
        """Send them, so many at a time; `arrived` gets each one's id, of those that were sent before too.

        Raises:
            CommandError: nothing more can be sent. What the server has against single pictures is in the tally.
        """

        async def send_one(picture: Picture) -> None:
            try:
                image_id = await self._send(picture)
            except OSError as error:
                self._tally.refuse(picture.path, error.strerror or str(error))
            except Refused as error:
                if error.http_status not in _OF_ONE_FILE and error.code not in _OF_ONE_FILE_TOO:
                    raise
                self._tally.refuse(picture.path, str(error))
            else:
                arrived(picture, image_id)
            advance()

        await side_by_side(send_one, pictures, jobs)

    async def _send(self, picture: Picture) -> str:
        file = FileState.of(picture.path)
        known = self._journal.find(file)
        if known is not None and known in self._there:
            self._tally.skipped += 1
            return known
        with picture.path.open("rb") as opened:
            if picture.sha256 is not None:
                digest = await asyncio.to_thread(hashlib.file_digest, opened, "sha256")
                if digest.hexdigest() != picture.sha256:
                    raise OSError("its bytes are not those of the manifest")
            added = await self._project.add(opened, picture.filename)
        self._journal.note(file, added.id)
        if added.duplicate:
            self._tally.already_there += 1
        else:
            self._tally.added += 1
        return added.id


def pictures_in(places: Iterable[Path], *, recursive: bool, unreadable: Callable[[OSError], None]) -> Iterator[Picture]:
    """The files named, and what looks like a picture by its suffix in the folders named, in the order of names.

    Hidden files and folders are left out; links to folders are followed, but no folder is entered twice. A folder that
    cannot be read is passed to `unreadable`.
    """
    for place in places:
        for path in _files_in(place, recursive, unreadable) if place.is_dir() else [place]:
            # A name on the disk may not be UTF-8, which JSON cannot carry.
            yield Picture(path, os.fsencode(path.name).decode(errors="replace"))


def _files_in(place: Path, recursive: bool, unreadable: Callable[[OSError], None]) -> Iterator[Path]:
    entered = set[tuple[int, int]]()
    for folder, folders, files in os.walk(place, followlinks=True, onerror=unreadable):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)


def shown(path: str | Path) -> str:
    """A path as a terminal can take it."""
    text = os.fsencode(path).decode(errors="replace")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
