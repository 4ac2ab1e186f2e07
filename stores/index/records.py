"""Records of images, projects and embedders, and the queries that all parts of the index share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import numpy as np

from stores.database import Database, Row, Value, Vectors
from stores.errors import InvalidKey, NotFound, ProjectNotFound, StoreError

DEFAULT_PROJECT: Final = "default"
"""The one project that always exists."""
MAX_PAGE: Final = 1000
PROJECT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

SELECT: Final = """
    SELECT p.name AS project_id, i.id, i.r2_key, i.original_filename, i.content_type, i.size_bytes, i.width, i.height,
        i.created_at, i.dominant_color, i.sha256, i.label, i.position, i.project, i.state
    FROM images i JOIN projects p ON p.number = i.project AND p.name >= '0'
"""
"""Without those of deleted projects, whose names begin with a slash."""
DELETED: Final = "name = '/' || number"
"""Of projects and embedders that are deleted, whose rows are still to be removed: no name that anybody can give."""
MAX_VALUES: Final = 500
"""Values in one statement."""


class ImageRecord(NamedTuple):
    """What is known of a stored image.

    `width` and `height` in pixels as shown; `created_at` ISO 8601, UTC; `dominant_color` as #rrggbb, None for images
    from before it was kept; `sha256` of the image's bytes, in hexadecimal digits.
    """

    project_id: str
    id: str
    r2_key: str
    original_filename: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    created_at: str
    dominant_color: str | None
    sha256: str


@dataclass(frozen=True)
class NewImage:
    """An image to store; `suffix` ends its key and says its type, e.g. `.png`. `thumbnail` is a WebP."""

    content: bytes
    original_filename: str
    content_type: str
    suffix: str
    width: int
    height: int
    dominant_color: str | None = None
    thumbnail: bytes | None = None

    @cached_property
    def sha256(self) -> str:
        """Of the content, in hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Embedder:
    """A model whose vectors are comparable; `entry` is what loads it again, None where that was not kept."""

    name: str
    entry: str | None = None


@dataclass(frozen=True)
class NewRecord:
    """An image for a project, with its vectors by the names of their embedders, each float32 [dimension]."""

    project: str
    image: NewImage
    vectors: Mapping[str, Vectors]


@dataclass(frozen=True, eq=False)
class Reservation:
    """A record being added, whose objects are to be put now: their bytes by their keys, the image's own last."""

    label: int
    project: int
    objects: Mapping[str, bytes]
    vectors: Mapping[int, Vectors] = field(repr=False)

    @property
    def key(self) -> str:
        """The image's own, which is never given twice; a label is, after a backup was restored."""
        return list(self.objects)[-1]


@dataclass(frozen=True)
class Abandoned:
    """A record that a process was adding when it died; its label is claimed until it is settled or released."""

    label: int
    r2_key: str
    sha256: str


@dataclass(frozen=True)
class ImageFilter:
    """Which images a search is for: of these media types, added from `since` and before `until` (ISO 8601, UTC)."""

    content_types: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None

    def condition(self) -> tuple[str, list[Value]]:
        """As an SQL condition on `images i`, with its values; empty when all are wanted."""
        conditions, values = [], list[Value]()
        if self.content_types:
            conditions.append(f"i.content_type IN ({placeholders(self.content_types)})")
            values += self.content_types
        if self.since is not None:
            conditions.append("i.created_at >= ?")
            values.append(self.since)
        if self.until is not None:
            conditions.append("i.created_at < ?")
            values.append(self.until)
        return " AND ".join(conditions), values


NO_FILTER: Final = ImageFilter()


@dataclass(frozen=True)
class Project:
    """A project and how many images it has."""

    project_id: str
    image_count: int
    created_at: str


@dataclass(frozen=True)
class Page:
    """Some records in the order they were added. `next` continues after the last one, None at the end."""

    images: list[ImageRecord]
    next: str | None


class Records:
    """Rows of images and projects."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def row(self, project: str, image_id: str) -> Row:
        """A ready image. Raises `ProjectNotFound`, `NotFound`."""
        number = self.project_number(project)
        row = self._db.one(SELECT + "WHERE i.project = ? AND i.id = ? AND i.state = 'ready'", number, image_id)
        if row is None:
            raise NotFound("there is no image of that id in the project")
        return row

    def by_label(self, labels: Sequence[int]) -> dict[int, ImageRecord]:
        """The records that exist of these labels."""
        found: dict[int, ImageRecord] = {}
        for some in slices(labels):
            rows = self._db.all(SELECT + f"WHERE i.label IN ({placeholders(some)})", *some)
            found |= {row["label"]: to_record(row) for row in rows}
        return found

    def project_number(self, name: str) -> int:
        """The number of a project. Raises `ProjectNotFound`."""
        row = self._db.one("SELECT number FROM projects WHERE name = ?", name) if PROJECT_NAME.fullmatch(name) else None
        if row is None:
            raise ProjectNotFound(f"there is no project {name!r}")
        return int(row["number"])

    def ensure_project(self, name: str) -> int:
        """The number of a project, which is created if there is none of that name. Raises `InvalidKey`."""
        if not PROJECT_NAME.fullmatch(name):
            raise InvalidKey("a project's name is 1 to 128 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
        self._db.execute("INSERT INTO projects (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", name, now())
        return self.project_number(name)

    def add_tombstones(self, keys: Iterable[str]) -> None:
        """Remember objects that are to be removed from the store."""
        self._db.execute_each(
            "INSERT INTO tombstones (r2_key) VALUES (?) ON CONFLICT DO NOTHING", [(key,) for key in keys]
        )


def to_record(row: Row) -> ImageRecord:
    """The record in a row of `SELECT`."""
    return ImageRecord._make(map(row.__getitem__, ImageRecord._fields))


def unit(vector: Vectors) -> Vectors:
    """The vector at length 1. Raises `StoreError` for one that has no direction."""
    length = float(np.linalg.norm(vector))
    if vector.ndim != 1 or not np.isfinite(length) or length == 0:
        raise StoreError("the embedder gave something that is not a direction")
    return (vector / length).astype(np.float32)


def thumbnail_key(r2_key: str) -> str:
    """Where the thumbnail of the image of that key is kept."""
    path = PurePosixPath(r2_key)
    return str(path.parent.with_name("thumbnails") / f"{path.stem}.webp")


def object_keys(r2_key: str) -> list[str]:
    """The keys of all objects of an image."""
    return [thumbnail_key(r2_key), r2_key]


def claim_name(label: int) -> str:
    """What a process claims while it adds the image of that label."""
    return f"image {label}"


def placeholders(values: Sequence[object]) -> str:
    """`?, ?, ?`: as many as there are values."""
    return ", ".join("?" * len(values))


def slices(values: Sequence[int] | Sequence[str]) -> Iterator[Sequence[Value]]:
    """The values, as many at a time as a statement takes."""
    for begin in range(0, len(values), MAX_VALUES):
        yield values[begin : begin + MAX_VALUES]


def now() -> str:
    """The time, as records say it: ISO 8601, UTC, milliseconds."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """A time of UTC, as records say it; times in order are texts in order."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
