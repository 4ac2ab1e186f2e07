"""The image index: SQLite is the truth about records and their vectors; search graphs are copies of it.

A record is made in three steps: its row (pending) and vector in one transaction, its object, then the row becomes
ready; only ready rows are ever shown. Deleting goes the other way: the row goes and leaves a tombstone with the
object's key, then the object, then the tombstone. So a crash at any point leaves something that `ImageIndex` finishes
or removes when it opens, and never a record without its object or an object that nobody knows.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sqlite3
import uuid
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from stores.database import Database
from stores.errors import EmbedderChanged, InvalidKey, NotFound, ProjectNotFound, StoreError
from stores.objects import ObjectStore, check_key
from stores.shelf import Shelf, from_blob, unit
from stores.vectors import EXACT_UP_TO, Vectors

logger = logging.getLogger(__name__)

DEFAULT_PROJECT: Final = "default"
"""The one project that always exists."""
MAX_PAGE: Final = 1000
PROJECT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_SELECT: Final = """
    SELECT p.name AS project_id, i.id, i.r2_key, i.original_filename, i.content_type, i.size_bytes, i.width, i.height,
        i.created_at, i.label, i.project, i.state
    FROM images i JOIN projects p ON p.number = i.project
"""
_SWEEP: Final = 100


@dataclass(frozen=True)
class ImageRecord:
    """What is known of a stored image. `width` and `height` in pixels as shown; `created_at` ISO 8601, UTC."""

    project_id: str
    id: str
    r2_key: str
    original_filename: str
    content_type: str
    size_bytes: int
    width: int
    height: int
    created_at: str


@dataclass(frozen=True)
class NewImage:
    """An image to store; `suffix` ends its key and says its type, e.g. `.png`."""

    content: bytes
    original_filename: str
    content_type: str
    suffix: str
    width: int
    height: int


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


class ImageIndex:
    """Records, vectors and objects of all projects, opened by one process and used by one thread at a time.

    `max_elements` is the first capacity of a search graph; it grows. Every method may raise `StoreFull` when it
    writes and `StoreError` when the database fails.

    Raises:
        StoreUnusable: another process has it open, its schema is newer, or the file is damaged.
    """

    def __init__(
        self,
        database: Path,
        objects: ObjectStore,
        embedder: str,
        *,
        max_elements: int = 50_000,
        key_prefix: str = "",
        exact_up_to: int = EXACT_UP_TO,
        wait_for_lock: float = 30,
    ) -> None:
        check_key(f"{key_prefix}x")
        self._objects = objects
        self._embedder = embedder
        self._key_prefix = key_prefix
        self._db = Database(database, wait_for_lock)
        graphs = database.with_name(f"{database.name}.graphs")
        self._shelf = Shelf(self._db, graphs, embedder, max_elements, exact_up_to)
        with self._db.transaction():
            self._project_number(DEFAULT_PROJECT, create=True)
        self._settle_pending()

    def close(self) -> None:
        """Save the search graphs and close; safe to call twice."""
        if not self._db.closed:
            self._shelf.save()
            self._db.close()

    def add(self, project: str, image: NewImage, vector: Vectors) -> tuple[ImageRecord, bool]:
        """Store an image with its vector, float32 [dimension]; the record, and whether the project had these bytes.

        Raises:
            EmbedderChanged: the vector has another dimension than the project's vectors of this embedder.
            StoreFull: nothing was stored.
        """
        sha256 = hashlib.sha256(image.content).hexdigest()
        known = self.find(project, sha256)
        if known:
            return known, True
        label, key = self._insert_pending(project, image, sha256, unit(vector))
        try:
            self._objects.put(key, image.content)
            self._make_ready(label)
        except StoreError:
            self._withdraw(label)
            raise
        return self._record(label), False

    def find(self, project: str, sha256: str) -> ImageRecord | None:
        """The project's record of these bytes, if it has one."""
        row = self._db.one(_SELECT + "WHERE p.name = ? AND i.sha256 = ?", project, sha256)
        if row is not None and row["state"] == "pending":  # an earlier add could neither finish nor clean up
            self._settle_pending()
            return self.find(project, sha256)
        return _record(row) if row is not None else None

    def get(self, project: str, image_id: str) -> ImageRecord:
        """One record. Raises `ProjectNotFound`, `NotFound`."""
        return _record(self._row(project, image_id))

    def page(self, project: str, limit: int = MAX_PAGE, after: str | None = None) -> Page:
        """Up to `limit` records, oldest first, after `after`: a page's `next`, or an image id.

        Images added or deleted between two pages neither repeat nor hide others.

        Raises:
            ProjectNotFound: no such project.
            NotFound: `after` is an image id that the project does not have.
        """
        number = self._project_number(project)
        begin = 0
        if after is not None:
            is_cursor = after.isascii() and after.isdigit() and len(after) <= 18
            begin = int(after) if is_cursor else self._row(project, after)["label"]
        rows = self._db.all(
            _SELECT + "WHERE i.project = ? AND i.state = 'ready' AND i.label > ? ORDER BY i.label LIMIT ?",
            number,
            begin,
            limit + 1,
        )
        shown = rows[:limit]
        return Page([_record(row) for row in shown], str(shown[-1]["label"]) if len(rows) > limit else None)

    def vector(self, project: str, image_id: str) -> Vectors:
        """The unit vector of an image, float32 [dimension]. Raises `ProjectNotFound`, `NotFound`, `EmbedderChanged`."""
        label = self._row(project, image_id)["label"]
        row = self._db.one("SELECT vector FROM vectors WHERE label = ? AND embedder = ?", label, self._embedder)
        if row is None:
            raise EmbedderChanged("the image was embedded by another model than the one configured now")
        return from_blob(row["vector"])

    def search(
        self, project: str, vector: Vectors, limit: int, min_score: float | None = None
    ) -> list[tuple[ImageRecord, float]]:
        """The project's images nearest to `vector`, best first, with their cosines, which reach `min_score`.

        Raises:
            ProjectNotFound: no such project.
            EmbedderChanged: the project has images that this embedder has not seen.
        """
        number = self._project_number(project)
        vectors = self._shelf.vectors(number)
        seen = 0 if vectors is None else len(vectors)
        rows = self._db.all("SELECT count(*) AS n FROM images WHERE project = ? AND state = 'ready'", number)
        if rows[0]["n"] != seen:
            raise EmbedderChanged(
                f"{rows[0]['n'] - seen} images of the project were embedded by another model than the one configured; "
                "configure that one again, or upload the images again"
            )
        if vectors is None:
            return []
        self._shelf.check_dimension(number, vector)
        best = vectors.search(unit(vector), limit)
        return [
            (self._record(label), max(-1.0, min(1.0, score)))
            for label, score in best
            if min_score is None or score >= min_score
        ]

    def delete(self, project: str, image_id: str) -> None:
        """Delete a record and its object. Raises `ProjectNotFound`, `NotFound`."""
        row = self._row(project, image_id)
        with self._db.transaction():
            self._db.execute("INSERT OR IGNORE INTO tombstones VALUES (?)", row["r2_key"])
            self._db.execute("DELETE FROM images WHERE label = ?", row["label"])
        self._shelf.remove(row["project"], row["label"])
        self._bury([row["r2_key"]])

    def projects(self) -> list[Project]:
        """All projects by name."""
        rows = self._db.all(
            "SELECT p.name, p.created_at, count(i.label) AS n FROM projects p "
            "LEFT JOIN images i ON i.project = p.number AND i.state = 'ready' GROUP BY p.number ORDER BY p.name"
        )
        return [Project(row["name"], row["n"], row["created_at"]) for row in rows]

    def delete_project(self, project: str) -> None:
        """Delete a project with all its records at once; `sweep` removes their objects. Raises `ProjectNotFound`."""
        number = self._project_number(project)
        with self._db.transaction():
            self._db.execute("INSERT OR IGNORE INTO tombstones SELECT r2_key FROM images WHERE project = ?", number)
            self._db.execute("DELETE FROM projects WHERE number = ?", number)
            self._project_number(DEFAULT_PROJECT, create=True)
        self._shelf.drop(number)

    def sweep(self) -> bool:
        """Remove some objects of deleted records; whether there are more."""
        keys = [row["r2_key"] for row in self._db.all("SELECT r2_key FROM tombstones LIMIT ?", _SWEEP)]
        return self._bury(keys) and len(keys) == _SWEEP

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        return self._shelf.needs_tending

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it saves a graph."""
        self._shelf.tend()

    def _record(self, label: int) -> ImageRecord:
        row = self._db.one(_SELECT + "WHERE i.label = ?", label)
        if row is None:
            raise StoreError("a vector without a record was found")
        return _record(row)

    def _row(self, project: str, image_id: str) -> sqlite3.Row:
        number = self._project_number(project)
        row = self._db.one(
            _SELECT + "WHERE i.project = ? AND i.id = ? AND i.state = 'ready'",
            number,
            image_id,
        )
        if row is None:
            raise NotFound("there is no image of that id in the project")
        return row

    def _project_number(self, name: str, *, create: bool = False) -> int:
        row = self._db.one("SELECT number FROM projects WHERE name = ?", name)
        if row is not None:
            return int(row["number"])
        if not create:
            raise ProjectNotFound("there is no such project")
        if not PROJECT_NAME.fullmatch(name):
            raise InvalidKey("a project's name is 1 to 128 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
        row = self._db.one("INSERT INTO projects (name, created_at) VALUES (?, ?) RETURNING number", name, _now())
        assert row is not None
        return int(row["number"])

    def _insert_pending(self, project: str, image: NewImage, sha256: str, vector: Vectors) -> tuple[int, str]:
        name = str(uuid.uuid4())
        key = f"{self._key_prefix}{project}/images/{name}{image.suffix}"
        with self._db.transaction():
            number = self._project_number(project, create=True)
            self._shelf.check_dimension(number, vector)
            row = self._db.one(
                "INSERT INTO images (id, project, sha256, r2_key, original_filename, content_type, size_bytes, width, "
                "height, created_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending') RETURNING label",
                name,
                number,
                sha256,
                key,
                image.original_filename,
                image.content_type,
                len(image.content),
                image.width,
                image.height,
                _now(),
            )
            assert row is not None
            self._db.execute(
                "INSERT INTO vectors VALUES (?, ?, ?, ?)",
                row["label"],
                self._embedder,
                len(vector),
                vector.astype("<f4").tobytes(),
            )
            return int(row["label"]), key

    def _make_ready(self, label: int) -> None:
        with self._db.transaction():
            self._db.execute("UPDATE images SET state = 'ready' WHERE label = ?", label)
        row = self._db.one(
            "SELECT i.project, v.vector FROM images i JOIN vectors v ON v.label = i.label AND v.embedder = ? "
            "WHERE i.label = ?",
            self._embedder,
            label,
        )
        if row is not None:
            self._shelf.add(row["project"], label, from_blob(row["vector"]))

    def _withdraw(self, label: int) -> None:
        """Take a pending row back; where even that fails, it is settled by the next add of its bytes or at start."""
        try:
            with self._db.transaction():
                self._db.execute("INSERT OR IGNORE INTO tombstones SELECT r2_key FROM images WHERE label = ?", label)
                self._db.execute("DELETE FROM images WHERE label = ?", label)
            self.sweep()
        except StoreError:
            logger.warning("an image that could not be stored is left to be cleaned up later", exc_info=True)

    def _settle_pending(self) -> None:
        """Finish or remove what a crash left half-made or half-deleted."""
        for row in self._db.all("SELECT label, r2_key, sha256 FROM images WHERE state = 'pending'"):
            if self._is_stored(row["r2_key"], row["sha256"]):
                self._make_ready(row["label"])
            else:
                self._withdraw(row["label"])
        while self.sweep():
            continue

    def _is_stored(self, key: str, sha256: str) -> bool:
        try:
            return hashlib.sha256(self._objects.get(key)).hexdigest() == sha256
        except NotFound:
            return False

    def _bury(self, keys: list[str]) -> bool:
        """Remove objects, then their tombstones; whether all went. What stays is tried again at the next start."""
        try:
            for key in keys:
                self._objects.delete(key)
            with self._db.transaction():
                self._db.execute_each("DELETE FROM tombstones WHERE r2_key = ?", [(key,) for key in keys])
        except StoreError:
            logger.warning("objects of deleted images could not be removed yet", exc_info=True)
            return False
        return True


def _record(row: sqlite3.Row) -> ImageRecord:
    return ImageRecord(*(row[field.name] for field in fields(ImageRecord)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
