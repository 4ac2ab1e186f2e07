"""A project as a folder: `images/` holds the pictures, `manifest.jsonl` a line for each, written last."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, TextIO

from pydantic import AfterValidator, ValidationError

from cli.progress import Advance, side_by_side
from cli.project import Project, Record
from cli.server import Mistake, Refused
from cli.uploads import Picture

MANIFEST: Final = "manifest.jsonl"
IMPORTED: Final = "imported.jsonl"
_BEGUN: Final = ".export"
"""Holds the project's name until the export comes to its end."""


def _inside(file: str) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("leads out of the folder")
    return file


class Exported(Record):
    """A line of the manifest: the record, and where its file lies in the folder."""

    file: Annotated[str, AfterValidator(_inside)]


@dataclass
class ExportTally:
    """What became of the pictures so far. `kept` were there already, whole."""

    total: int = 0
    fetched: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many have been dealt with."""
        return self.fetched + self.kept + len(self.failed)

    @property
    def failures(self) -> list[str]:
        """What did not work, a line each."""
        return self.failed

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total} pictures: {self.fetched} fetched, {self.kept} already there, "
            f"{len(self.failed)} failed"
        )


class Export:
    """Fetches a project's pictures into a folder; a file that is there already and whole stays as it is."""

    def __init__(self, project: Project, target: Path, tally: ExportTally) -> None:
        """Look at what is there.

        Raises:
            Mistake: the folder holds something else, or its manifest is damaged.
        """
        self._project, self._target, self._tally = project, target, tally
        held = _exported_to(target)
        if held not in (None, project.name):
            raise Mistake(f"{target} holds an export of the project {held!r}; choose another folder")

    async def fetch(self, jobs: int, advance: Advance) -> None:
        """Fetch what is missing, so many at a time, then write the manifest.

        Raises:
            CommandError: nothing more can be fetched. Single pictures that cannot be are in the tally.
        """
        (self._target / "images").mkdir(parents=True, exist_ok=True)
        (self._target / _BEGUN).write_text(self._project.name)
        with replaced(self._target / MANIFEST) as manifest:

            async def fetch_one(record: Record) -> None:
                try:
                    await self._fetch(record)
                except Refused as error:
                    if error.http_status not in (404, 500):
                        raise
                    self._tally.failed.append(f"{record.id} ({record.original_filename}): {error}")
                advance()

            async for records in self._project.pages():
                await side_by_side(fetch_one, records, jobs)
                for record in records:
                    if self._path(record).exists():
                        line = record.model_dump() | {"file": f"images/{record.file_name}"}
                        manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        (self._target / _BEGUN).unlink()

    async def _fetch(self, record: Record) -> None:
        path = self._path(record)
        if path.is_file() and await asyncio.to_thread(sha256_of, path) == record.sha256:
            self._tally.kept += 1
            return
        path.unlink(missing_ok=True)
        draft = path.with_name(f".{path.name}.part")
        try:
            if await self._project.download(record, draft) != record.sha256:
                raise Refused("other bytes came than were uploaded once", 500)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._tally.fetched += 1

    def _path(self, record: Record) -> Path:
        return self._target / "images" / record.file_name


def _exported_to(target: Path) -> str | None:
    """The project that a folder holds an export of, whole or begun; None for a new one. Raises `Mistake`."""
    with suppress(FileNotFoundError):
        return (target / _BEGUN).read_text()
    if not target.exists() or not any(target.iterdir()):
        return None
    if not (target / MANIFEST).exists():
        raise Mistake(f"{target} is not empty and holds no export; choose another folder")
    return next((each.project_id for each in read_manifest(target)), None)


def sha256_of(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Iterator[Exported]:
    """The lines of an export's manifest.

    Raises:
        Mistake: there is none, or a line of it is damaged.
    """
    path = folder / MANIFEST
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Exported.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    where = ".".join(map(str, first["loc"]))
                    raise Mistake(f"{path}, line {number}: {f'{where}: ' if where else ''}{first['msg']}") from None
    except FileNotFoundError:
        raise Mistake(f"{folder} holds no export: there is no {MANIFEST} in it") from None
    except OSError as error:
        raise Mistake(f"{path} cannot be read: {error.strerror}") from None


def pictures_of(folder: Path) -> Iterator[Picture]:
    """The pictures of an export, by the names they were first uploaded under. Raises what `read_manifest` does."""
    for each in read_manifest(folder):
        yield Picture(folder / each.file, each.original_filename, each.sha256, each.id)


@contextmanager
def replaced(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of `path` once it is whole and on the disk; of what fails, nothing is left."""
    draft = path.with_name(f".{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a disk that is full does not say of which file
        raise
    finally:
        draft.unlink(missing_ok=True)
