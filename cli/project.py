"""One project of a running server, by its image search routes (docs/http-api.md, "Image search")."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from cli.server import Mistake, Refused, Server

Model = TypeVar("Model", bound=BaseModel)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ProjectNotFound(Mistake):
    """The server has no such project (yet: the first picture makes it)."""


class Record(BaseModel):
    """A picture's record: the fields that are used here, and whatever else the server says."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(pattern=r"^[0-9a-f-]{36}$")
    project_id: str
    r2_key: str
    original_filename: str
    size_bytes: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @property
    def file_name(self) -> str:
        """What the picture is called among others: its id, and its type's suffix."""
        return f"{self.id}{PurePosixPath(self.r2_key).suffix}"


class Added(Record):
    """The record of a picture that was sent; a duplicate when the project had these bytes already."""

    duplicate: bool = False


class Hit(Record):
    """A picture that was found. `score` is the cosine, -1 to 1."""

    score: float


class _Page(BaseModel):
    images: list[Record]
    has_more: bool
    next: str | None


class _Hits(BaseModel):
    results: list[Hit]


class _Counted(BaseModel):
    project_id: str
    image_count: int


class _Projects(BaseModel):
    projects: list[_Counted]


class Project:
    """A project by name. Every method raises what `Server` does, and `ProjectNotFound`."""

    def __init__(self, server: Server, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise Mistake(
                f"--project: {name!r}: 1 to 128 of A-Z a-z 0-9 . _ - are needed, beginning with a letter or digit"
            )
        self.server, self.name = server, name
        self._images = f"/v1/projects/{name}/images"

    async def pages(self) -> AsyncIterator[list[Record]]:
        """All records, oldest first, up to 1000 at a time."""
        after: dict[str, str] = {}
        while True:
            page = await self._ask(_Page, "GET", "", params={"limit": "1000", **after})
            yield page.images
            if page.next is None:
                return
            after = {"after": page.next}

    async def count(self) -> int:
        """How many pictures there are."""
        listed = await self.server.ask(_Projects, "GET", "/v1/projects")
        for each in listed.projects:
            if each.project_id == self.name:
                return each.image_count
        raise self._not_found()

    async def add(self, file: BinaryIO, filename: str) -> Added:
        """Send a picture."""
        return await self._ask(Added, "POST", "", files={"file": (filename, file)})

    async def search(self, **wanted: Any) -> list[Hit]:
        """The pictures that fit best, the best first; `wanted` is the route's body."""
        return (await self._ask(_Hits, "POST", "/search", json=wanted)).results

    async def download(self, record: Record, target: Path) -> str:
        """Write the picture's bytes into a file; their SHA-256."""
        return await self.server.download(f"{self._images}/{record.id}/file", target)

    async def _ask(self, answer: type[Model], method: str, path: str, **content: Any) -> Model:
        try:
            return await self.server.ask(answer, method, self._images + path, **content)
        except Refused as refused:
            if refused.code == "PROJECT_NOT_FOUND":
                raise self._not_found() from None
            raise

    def _not_found(self) -> ProjectNotFound:
        return ProjectNotFound(f"the server at {self.server.url} has no project {self.name!r}")
