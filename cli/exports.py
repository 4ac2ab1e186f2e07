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

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from cli.progress import Advance, side_by_side
from cli.project import Project, Record
from cli.server import Mistake, Refused
from cli.uploads import Picture

MANIFEST: Final = "manifest.jsonl"
IMPORTED: Final = "imported.jsonl"
_FETCHED: Final = ".fetched.jsonl"
"""What an export that did not come to its end has fetched."""


def _inside(file: str) -> str:
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("leads out of the folder")
    return file


class Exported(Record):
    """A line of the manifest: the record, where its file lies in the folder, and the SHA-256 of its bytes."""

    file: Annotated[str, AfterValidator(_inside)]
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Fetched(BaseModel):
    id: str
    project_id: str
    sha256: str


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

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total} pictures: {self.fetched} fetched, {self.kept} already there, "
            f"{len(self.failed)} failed"
        )


class Export:
    """Fetches a project's pictures into a folder. A file is fetched again unless it is known to be whole."""

    def __init__(self, project: Project, target: Path, tally: ExportTally) -> None:
        """Look at what is there.

        Raises:
            Mistake: the folder holds something else, or its manifest is damaged.
        """
        self._project, self._target, self._tally = project, target, tally
        self._digests: dict[str, str] = {}
        for each in _fetched_before(target):
            if each.project_id != project.name:
                raise Mistake(f"{target} holds an export of the project {each.project_id!r}; choose another folder")
            self._digests[each.id] = each.sha256

    async def fetch(self, jobs: int, advance: Advance) -> None:
        """Fetch what is missing, so many at a time, then write the manifest.

        Raises:
            CommandError: nothing more can be fetched. Single pictures that cannot be are in the tally.
        """
        self._target.mkdir(parents=True, exist_ok=True)
        with (self._target / _FETCHED).open("a") as fetched, replaced(self._target / MANIFEST) as manifest:
            fetched.write("\n")  # after a torn line
            (self._target / "images").mkdir(exist_ok=True)

            async def fetch_one(record: Record) -> None:
                try:
                    await self._fetch(record, fetched)
                except Refused as error:
                    if error.http_status not in (404, 500):
                        raise
                    self._digests.pop(record.id, None)
                    self._tally.failed.append(f"{record.id} ({record.original_filename}): {error}")
                advance()

            async for records in self._project.pages():
                await side_by_side(fetch_one, records, jobs)
                for record in records:
                    if sha256 := self._digests.get(record.id):
                        line = record.model_dump() | {"file": f"images/{record.file_name}", "sha256": sha256}
                        manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
        (self._target / _FETCHED).unlink()

    async def _fetch(self, record: Record, fetched: TextIO) -> None:
        path = self._target / "images" / record.file_name
        if await asyncio.to_thread(self._is_whole, path, record):
            self._tally.kept += 1
            return
        draft = path.with_name(f".{path.name}.part")
        sha256 = await self._project.download(record, draft)
        if draft.stat().st_size != record.size_bytes:
            raise Refused(f"{draft.stat().st_size} bytes came, not {record.size_bytes}", 500)
        draft.replace(path)
        self._digests[record.id] = sha256
        line = _Fetched(id=record.id, project_id=record.project_id, sha256=sha256)
        fetched.write(line.model_dump_json() + "\n")
        fetched.flush()
        self._tally.fetched += 1

    def _is_whole(self, path: Path, record: Record) -> bool:
        if record.id not in self._digests or not path.is_file() or path.stat().st_size != record.size_bytes:
            return False
        return sha256_of(path) == self._digests[record.id]


def _fetched_before(target: Path) -> Iterator[_Fetched | Exported]:
    """What earlier exports have put into the folder. Raises `Mistake` for a folder of something else."""
    has_manifest, has_fetched = (target / MANIFEST).exists(), (target / _FETCHED).exists()
    if has_manifest:
        yield from read_manifest(target)
    if has_fetched:
        for line in (target / _FETCHED).read_bytes().splitlines():
            with suppress(ValidationError):  # torn by a kill
                yield _Fetched.model_validate_json(line)
    if not has_manifest and not has_fetched and target.exists() and any(target.iterdir()):
        raise Mistake(f"{target} is not empty and holds no export; choose another folder")


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
    finally:
        draft.unlink(missing_ok=True)
