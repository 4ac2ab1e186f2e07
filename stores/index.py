"""The image index: records with their vectors and objects, in a database that is the truth about them.

A record is made in three steps: `reserve` writes its row (pending) and vectors in one transaction, the caller puts its
objects, and `complete` makes the row ready; only ready rows are ever shown. Deleting goes the other way: the row goes
and leaves tombstones with the objects' keys, then the objects go, then the tombstones. So a crash at any point leaves
something that is finished or removed when the index is opened again, and never a record without its object or an
object that nobody knows. A deleted project loses its name first, and its rows in slices, so that nobody waits for them.

One embedder serves: its vectors are the ones searched. When another is configured, pictures get vectors of both while
`lacking` and `fill` give the older ones theirs, and `take_over` lets the new one serve once it has all.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import numpy as np

from stores.database import Database, Row, Value, VectorIndex, Vectors
from stores.errors import EmbedderChanged, InvalidKey, NotFound, ProjectNotFound, StoreError
from stores.objects import ObjectStore, check_key

logger = logging.getLogger(__name__)

DEFAULT_PROJECT: Final = "default"
"""The one project that always exists."""
MAX_PAGE: Final = 1000
PROJECT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

_SELECT: Final = """
    SELECT p.name AS project_id, i.id, i.r2_key, i.original_filename, i.content_type, i.size_bytes, i.width, i.height,
        i.created_at, i.dominant_color, i.sha256, i.label, i.position, i.project, i.state
    FROM images i JOIN projects p ON p.number = i.project AND p.name >= '0'
"""
"""Without those of deleted projects, whose names begin with a slash."""
_AT_ONCE: Final = 500
"""Values in one statement."""
_SWEEP: Final = 100
_CLEARED: Final = 100
"""Rows that are deleted at once, while searches wait."""
_DELETED: Final = "name = '/' || number"
"""Of projects and embedders that are deleted, whose rows `clear` has yet to remove: no name that anybody can give."""
_CLEARING: Final = "clearing"
_DELETED_MEANWHILE: Final = "the project was deleted while the picture was added to it"
_FEW: Final = 20_000
"""Images so few that comparing each of them takes less than a search that has to look past the unwanted ones."""
_OBJECT: Final = re.compile(r"(?P<project>[^/]+)/(images|thumbnails)/(?P<id>[0-9a-f-]{36})\.[a-z]+")


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
class New:
    """A picture for a project, with its vectors by the names of their embedders, each float32 [dimension]."""

    project: str
    image: NewImage
    vectors: Mapping[str, Vectors]


@dataclass(frozen=True, eq=False)
class Reservation:
    """A record in the making, whose objects are to be put now: their bytes by their keys, the picture's own last."""

    label: int
    project: int
    objects: Mapping[str, bytes]
    vectors: Mapping[int, Vectors] = field(repr=False)

    @property
    def key(self) -> str:
        """The picture's own, which is never given twice; a label is, after a backup was restored."""
        return list(self.objects)[-1]


@dataclass(frozen=True)
class Wanted:
    """Which images a search is for: of these media types, added from `since` and before `until` (ISO 8601, UTC)."""

    content_types: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None

    def condition(self) -> tuple[str, list[Value]]:
        """As an SQL condition on `images i`, with its values; empty when all are wanted."""
        conditions, values = [], list[Value]()
        if self.content_types:
            conditions.append(f"i.content_type IN ({_marks(self.content_types)})")
            values += self.content_types
        if self.since is not None:
            conditions.append("i.created_at >= ?")
            values.append(self.since)
        if self.until is not None:
            conditions.append("i.created_at < ?")
            values.append(self.until)
        return " AND ".join(conditions), values


EVERYTHING: Final = Wanted()


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


Hits = list[tuple[ImageRecord, float]]


class ImageIndex:
    """Records, vectors and objects of all projects, used by one thread at a time.

    Every method may raise `StoreFull` when it writes and `StoreError` when the database fails. Only `add`, `sweep`,
    opening it, and `reserve` where a dead process left the same bytes, use the objects, which may be far away; all else
    may be called where searches wait for it.
    """

    def __init__(self, db: Database, objects: ObjectStore, embedder: Embedder, *, key_prefix: str = "") -> None:
        check_key(f"{key_prefix}x")
        self._db = db
        self._objects = objects
        self.key_prefix = key_prefix
        """What the keys of all objects begin with."""
        self._adding: set[int] = set()
        self.embedder = embedder
        """The one that is configured."""
        try:
            with db.transaction():
                self._project_number(DEFAULT_PROJECT, create=True)
                self._configured = self._embedder_number(embedder)
                if not self._has_images() or self._serving_number() is None:
                    self._let_serve(self._configured)
                if not db.is_shared:  # or another process may be giving pictures its vectors
                    self._rename_embedders("number <> ? AND is_serving = 0", self._configured)
            serving = self._serving_number()
            assert serving is not None
            self._serving = db.vectors(serving)
            self._coming = db.vectors(self._configured) if self._configured != serving else None
            self._settle_pending()
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        """Keep what would have to be made anew, and close; safe to call twice."""
        if not self._db.closed:
            for vectors in self._searchable():
                vectors.close()
            self._db.close()

    # --- adding ---

    def add(self, project: str, image: NewImage, vector: Vectors) -> tuple[ImageRecord, bool]:
        """All three steps: the record, and whether the project had these bytes. Puts objects.

        Raises:
            StoreError: another process is adding the same bytes right now.
            EmbedderChanged: the vector has another dimension than those of this embedder.
            StoreFull: nothing was stored.
        """
        (reserved,) = self.reserve([New(project, image, {self.embedder.name: vector})])
        if isinstance(reserved, ImageRecord):
            return reserved, True
        if reserved is None:
            raise StoreError("the same picture is being added by another process")
        try:
            for key, content in reserved.objects.items():
                self._objects.put(key, content)
        except StoreError:
            self.withdraw(reserved)
            raise
        return self.complete([reserved])[0], False

    def reserve(self, news: Sequence[New]) -> list[Reservation | ImageRecord | None]:
        """Begin to add pictures, in one transaction: all or none.

        For each a reservation, to be given to `complete` or `withdraw`; or the record of these bytes that the project
        has; or None when somebody is adding them at this moment, and asking again soon will tell.

        Raises:
            EmbedderChanged: a vector has another dimension than those of its embedder.
            InvalidKey: not a name for a project.
        """
        embedders = self._embedders()
        begun: list[int] = []
        try:
            with self._db.transaction():
                made = [self._reserve(new, embedders, begun) for new in news]
        except BaseException:
            with suppress(StoreError):  # a database that is gone has let go of them
                for label in begun:
                    self._db.release(_claim(label))
            raise
        self._adding |= set(begun)
        return [each if not isinstance(each, int) else self._after_another(each) for each in made]

    def complete(self, reservations: Sequence[Reservation]) -> list[ImageRecord]:
        """Show the pictures whose objects are there now.

        Raises:
            ProjectNotFound: the project of one was deleted meanwhile; none is shown then that can be withdrawn.
        """
        with self._db.transaction():
            for each in reservations:
                # In the order of this counter images become visible, which is not that of their labels.
                position = self._db.one("UPDATE counters SET position = position + 1 RETURNING position")
                assert position is not None
                if not self._db.execute(
                    "UPDATE images SET state = 'ready', position = ? "
                    "WHERE label = ? AND r2_key = ? AND state = 'pending'",
                    position["position"],
                    each.label,
                    each.key,
                ):
                    raise ProjectNotFound(_DELETED_MEANWHILE)
            for some in _slices(sorted({each.project for each in reservations})):
                if self._db.one(f"SELECT 1 FROM projects WHERE {_DELETED} AND number IN ({_marks(some)})", *some):  # noqa: S608
                    raise ProjectNotFound(_DELETED_MEANWHILE)
        for each in reservations:
            for vectors in self._searchable():
                if vectors.embedder in each.vectors:
                    vectors.add(each.project, each.label, each.vectors[vectors.embedder])
            self._let_go(each.label)
        return self._records([each.label for each in reservations])

    def withdraw(self, reservation: Reservation) -> None:
        """Take back what was begun; where that fails, the next to add these bytes does it, or the next start.

        Its objects leave with the next `sweep`.
        """
        try:
            with self._db.transaction():
                self.add_tombstones(reservation.objects)
                self._db.execute(
                    "DELETE FROM images WHERE label = ? AND r2_key = ?", reservation.label, reservation.key
                )
        except StoreError:
            logger.warning("an image that could not be stored is left to be cleaned up later", exc_info=True)
        finally:
            self._let_go(reservation.label)

    def find(self, project: str, sha256: str) -> ImageRecord | None:
        """The project's record of these bytes, if it has one."""
        if not PROJECT_NAME.fullmatch(project):
            return None
        row = self._db.one(_SELECT + "WHERE p.name = ? AND i.sha256 = ? AND i.state = 'ready'", project, sha256)
        return None if row is None else _record(row)

    # --- reading ---

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
            begin = int(after) if is_cursor else self._row(project, after)["position"]
        rows = self._db.all(
            _SELECT + "WHERE i.project = ? AND i.state = 'ready' AND i.position > ? ORDER BY i.position LIMIT ?",
            number,
            begin,
            limit + 1,
        )
        shown = rows[:limit]
        return Page([_record(row) for row in shown], str(shown[-1]["position"]) if len(rows) > limit else None)

    def projects(self) -> list[Project]:
        """All projects by name."""
        rows = self._db.all(
            "SELECT p.name, p.created_at, (SELECT count(*) FROM images i WHERE i.project = p.number "
            "AND i.state = 'ready') AS n FROM projects p WHERE p.name >= '0' ORDER BY p.name"  # /…: deleted
        )
        return [Project(row["name"], row["n"], row["created_at"]) for row in rows]

    # --- searching ---

    @property
    def serving(self) -> Embedder:
        """The embedder whose vectors are searched, by which a query must be embedded."""
        row = self._db.one("SELECT number, name, entry FROM embedders WHERE is_serving = 1")
        assert row is not None
        if self._coming is not None and row["number"] == self._coming.embedder:  # another process has let it serve
            self._serving, self._coming = self._coming, None
        elif row["number"] != self._serving.embedder:
            self._serving = self._db.vectors(row["number"])
        return Embedder(row["name"], row["entry"])

    def vector(self, project: str, image_id: str) -> Vectors:
        """The unit vector of an image, float32 [dimension]. Raises `ProjectNotFound`, `NotFound`, `EmbedderChanged`."""
        label = self._row(project, image_id)["label"]
        self.serving  # noqa: B018 - looks which one that is
        vector = self._serving.read(label)
        if vector is None:
            raise EmbedderChanged("the image has no vector of the model that serves yet")
        return vector

    def search(
        self,
        project: str,
        vector: Vectors,
        limit: int,
        min_score: float | None = None,
        wanted: Wanted = EVERYTHING,
        of: str | None = None,
    ) -> Hits:
        """The project's wanted images nearest to `vector`, best first, with their cosines, which reach `min_score`.

        Raises:
            ProjectNotFound: no such project.
            EmbedderChanged: the embedder that serves is not the one `of` which the vector is.
        """
        number = self._project_number(project)
        if of is not None and of != self.serving.name:
            raise EmbedderChanged("another model serves now")
        self._check_dimension(self._serving.embedder, vector)
        query = unit(vector)
        condition, values = wanted.condition()
        if condition:
            best = self._nearest_wanted(number, query, limit, condition, values)
        else:
            best = self._serving.nearest(number, query, limit)
        if min_score is not None:
            best = [(label, score) for label, score in best if score >= min_score]
        records = self._records_by_label([label for label, _ in best])
        # another process may have deleted one meanwhile
        return [(records[label], max(-1.0, min(1.0, score))) for label, score in best if label in records]

    def _nearest_wanted(
        self, project: int, query: Vectors, limit: int, condition: str, values: list[Value]
    ) -> list[tuple[int, float]]:
        select = f"SELECT i.label FROM images i WHERE i.project = ? AND i.state = 'ready' AND {condition}"  # noqa: S608
        # `+`: by their labels, not by an index of all that are wanted
        among = select.replace("i.project", "+i.project")
        few = self._db.all(f"{select} LIMIT ?", project, *values, _FEW + 1)
        if len(few) <= _FEW:
            return self._serving.nearest_of(project, [row["label"] for row in few], query, limit)
        reach = 4 * limit
        while True:
            near = self._serving.nearest(project, query, reach)
            labels = [label for label, _ in near]
            found = set[int]()
            for some in _slices(labels):
                rows = self._db.all(f"{among} AND i.label IN ({_marks(some)})", project, *values, *some)
                found |= {row["label"] for row in rows}
            best = [pair for pair in near if pair[0] in found][:limit]
            if len(best) == limit:
                return best
            if len(near) < reach:  # that was all it reaches
                labels = [row["label"] for row in self._db.all(select, project, *values)]
                return self._serving.nearest_of(project, labels, query, limit)
            reach *= 4

    # --- deleting ---

    def delete(self, project: str, image_id: str) -> list[str]:
        """Delete a record; the keys of its objects, which `sweep` removes. Raises `ProjectNotFound`, `NotFound`."""
        row = self._row(project, image_id)
        keys = _keys(row["r2_key"])
        with self._db.transaction():
            self.add_tombstones(keys)
            self._db.execute("DELETE FROM images WHERE label = ?", row["label"])
        for vectors in self._searchable():
            vectors.remove(row["project"], row["label"])
        return keys

    def delete_project(self, project: str) -> None:
        """Delete a project with all its records; `clear` removes its rows, `sweep` its objects.

        Raises:
            ProjectNotFound: no such project.
        """
        number = self._project_number(project)
        with self._db.transaction():
            self._db.execute("UPDATE projects SET name = '/' || number WHERE number = ?", number)
            self._project_number(DEFAULT_PROJECT, create=True)
        for vectors in self._searchable():
            vectors.drop(number)

    def clear(self) -> bool:
        """Remove some of the rows that deleted projects and replaced embedders have left; whether there may be more.

        If another process is at it, there is nothing to do.
        """
        if not self._db.claim(_CLEARING):
            return False
        try:
            return self._clear_project() or self._clear_embedder()
        finally:
            self._db.release(_CLEARING)

    def _clear_project(self) -> bool:
        project = self._db.one(f"SELECT number FROM projects WHERE {_DELETED} LIMIT 1")  # noqa: S608
        if project is None:
            return False
        number = project["number"]
        rows = self._db.all(  # neighbours, so that few pages are touched
            "SELECT label, r2_key FROM images WHERE project = ? AND state = 'ready' ORDER BY position LIMIT ?",
            number,
            _CLEARED,
        )
        if not rows and self._db.one("SELECT label FROM images WHERE project = ? LIMIT 1", number) is not None:
            return self._clear_abandoned(number)
        with self._db.transaction():
            if rows:
                self._delete_rows(rows)
            else:
                self._db.execute("DELETE FROM projects WHERE number = ?", number)
        if not rows:
            for vectors in self._searchable():
                vectors.drop(number)
        return True

    def _clear_abandoned(self, project: int) -> bool:
        """Remove what nobody who lives is adding to a deleted project; whether there was anything."""
        rows = self._db.all(
            "SELECT label, r2_key FROM images WHERE project = ? AND state = 'pending' LIMIT ?", project, _CLEARED
        )
        free = [row for row in rows if row["label"] not in self._adding and self._db.claim(_claim(row["label"]))]
        try:
            with self._db.transaction():
                self._delete_rows(free)
        finally:
            for row in free:
                self._db.release(_claim(row["label"]))
        return bool(free)

    def _delete_rows(self, rows: Sequence[Row]) -> None:
        """Delete images, by label and key, inside a transaction; `sweep` removes their objects."""
        self.add_tombstones(key for row in rows for key in _keys(row["r2_key"]))
        self._db.execute_each("DELETE FROM images WHERE label = ?", [(row["label"],) for row in rows])

    def _clear_embedder(self) -> bool:
        embedder = self._db.one(f"SELECT number FROM embedders WHERE {_DELETED} LIMIT 1")  # noqa: S608
        if embedder is None:
            return False
        number = embedder["number"]
        labels = [
            row["label"]
            for row in self._db.all("SELECT label FROM vectors WHERE embedder = ? LIMIT ?", number, _CLEARED)
        ]
        if labels:
            where = f"embedder = ? AND label IN ({_marks(labels)})"
            self._db.execute(f"DELETE FROM vectors WHERE {where}", number, *labels)  # noqa: S608
        else:
            self._db.execute("DELETE FROM embedders WHERE number = ?", number)
        return True

    def buried(self, limit: int = _SWEEP, after: str = "") -> list[str]:
        """Some keys, from `after` on, of objects that are to be deleted; `forget` them then."""
        rows = self._db.all("SELECT r2_key FROM tombstones WHERE r2_key > ? ORDER BY r2_key LIMIT ?", after, limit)
        return [row["r2_key"] for row in rows]

    def forget(self, keys: Sequence[str]) -> None:
        """Note that the objects of these keys are gone."""
        with self._db.transaction():
            self._db.execute_each("DELETE FROM tombstones WHERE r2_key = ?", [(key,) for key in keys])

    def sweep(self) -> bool:
        """Delete some objects of deleted records; whether there are more. What fails is left for the next time."""
        try:
            if self.clear():
                return True
            keys = self.buried()
            for key in keys:
                self._objects.delete(key)
            self.forget(keys)
        except StoreError:
            logger.warning("what is left of deleted images could not be removed yet", exc_info=True)
            return False
        return len(keys) == _SWEEP

    def unknown(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of these keys that could be of an image and are of none, with its id; other things are left out."""
        ids: dict[str, str] = {}
        for key in keys:
            match = _OBJECT.fullmatch(key.removeprefix(self.key_prefix)) if key.startswith(self.key_prefix) else None
            if match:
                ids[key] = match["id"]
        known = set[str]()
        for some in _slices(list(ids.values())):
            known |= {row["id"] for row in self._db.all(f"SELECT id FROM images WHERE id IN ({_marks(some)})", *some)}  # noqa: S608
        return {key: image_id for key, image_id in ids.items() if image_id not in known}

    # --- another embedder ---

    @property
    def is_incomplete(self) -> bool:
        """Whether images lack vectors of the configured embedder, or another one still serves."""
        if self._coming is not None:
            return True
        done, total = self.progress()
        return done < total

    def progress(self) -> tuple[int, int]:
        """How many ready images have a vector of the configured embedder, and how many there are."""
        row = self._db.one(
            "SELECT (SELECT count(*) FROM images WHERE state = 'ready') AS total, "
            "(SELECT count(*) FROM vectors WHERE embedder = ?) AS done",
            self._configured,
        )
        assert row is not None
        return min(row["done"], row["total"]), row["total"]  # images in the making have vectors too

    def lacking(self, limit: int, after: int = 0) -> dict[int, str]:
        """Some images without a vector of the configured embedder, by label from `after` on, and their keys."""
        rows = self._db.all(
            "SELECT i.label, i.r2_key FROM images i LEFT JOIN vectors v ON v.label = i.label AND v.embedder = ? "
            "WHERE i.state = 'ready' AND v.label IS NULL AND i.label > ? ORDER BY i.label LIMIT ?",
            self._configured,
            after,
            limit,
        )
        return {row["label"]: row["r2_key"] for row in rows}

    def fill(self, vectors: Mapping[int, Vectors]) -> None:
        """Take in vectors of the configured embedder, by label; of images that were deleted meanwhile they are lost.

        Raises:
            EmbedderChanged: one has another dimension than the others.
        """
        into = self._coming or self._serving
        with self._db.transaction():
            kept = []
            for label, vector in vectors.items():
                row = self._db.one("SELECT project FROM images WHERE label = ? AND state = 'ready'", label)
                if row is not None:
                    self._check_dimension(into.embedder, vector)
                    into.keep(row["project"], label, unit(vector))
                    kept.append((row["project"], label))
        for project, label in kept:
            into.add(project, label, unit(vectors[label]))

    def take_over(self) -> bool:
        """Go on towards the configured embedder's serving; whether it does. `clear` removes the old one's vectors.

        To be called again and again once `lacking` has nothing more that can be embedded: the new vectors are made
        ready first, while the old ones still serve.
        """
        if self._coming is None:
            return True
        self._coming.warm()
        if not self._coming.is_ready:
            if self._coming.needs_tending:
                self._coming.tend()
            return False
        self._coming.save()
        with self._db.transaction():
            if self._db.one(f"SELECT 1 FROM embedders WHERE number = ? AND NOT ({_DELETED})", self._configured) is None:  # noqa: S608
                raise EmbedderChanged("the vectors of the configured model were deleted meanwhile")
            self._let_serve(self._configured)
            self._rename_embedders("number = ?", self._serving.embedder)
        self._serving.discard()
        self._serving, self._coming = self._coming, None
        return True

    # --- upkeep ---

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have the index open too."""
        return self._db.is_shared

    def claim(self, what: str) -> bool:
        """Whether `what` is this process's to do; see `Database.claim`."""
        return self._db.claim(what)

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        return any(vectors.needs_tending for vectors in self._searchable())

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it saves a graph."""
        for vectors in self._searchable():
            if vectors.needs_tending:
                vectors.tend()
                return

    def _searchable(self) -> Iterator[VectorIndex]:
        yield self._serving
        if self._coming is not None:
            yield self._coming

    def _records(self, labels: Sequence[int]) -> list[ImageRecord]:
        """The records of these labels, in their order."""
        found = self._records_by_label(labels)
        if len(found) < len(labels):
            raise StoreError("a picture was deleted while it was added")
        return [found[label] for label in labels]

    def _records_by_label(self, labels: Sequence[int]) -> dict[int, ImageRecord]:
        """The records there are of these labels."""
        found: dict[int, ImageRecord] = {}
        for some in _slices(labels):
            rows = self._db.all(_SELECT + f"WHERE i.label IN ({_marks(some)})", *some)
            found |= {row["label"]: _record(row) for row in rows}
        return found

    def _row(self, project: str, image_id: str) -> Row:
        number = self._project_number(project)
        row = self._db.one(_SELECT + "WHERE i.project = ? AND i.id = ? AND i.state = 'ready'", number, image_id)
        if row is None:
            raise NotFound("there is no image of that id in the project")
        return row

    def _project_number(self, name: str, *, create: bool = False) -> int:
        is_name = PROJECT_NAME.fullmatch(name)
        row = self._db.one("SELECT number FROM projects WHERE name = ?", name) if is_name else None
        if row is None and not create:
            raise ProjectNotFound(f"there is no project {name!r}")
        if row is None:
            if not is_name:
                raise InvalidKey("a project's name is 1 to 128 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
            self._db.execute(
                "INSERT INTO projects (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING", name, _now()
            )
            row = self._db.one("SELECT number FROM projects WHERE name = ?", name)
            assert row is not None
        return int(row["number"])

    def _has_images(self) -> bool:
        return self._db.one("SELECT 1 AS one FROM images LIMIT 1") is not None

    def _embedder_number(self, embedder: Embedder) -> int:
        self._db.execute(
            "INSERT INTO embedders (name, entry, is_serving) VALUES (?, ?, 0) "
            "ON CONFLICT (name) DO UPDATE SET entry = excluded.entry",
            embedder.name,
            embedder.entry,
        )
        row = self._db.one("SELECT number FROM embedders WHERE name = ?", embedder.name)
        assert row is not None
        return int(row["number"])

    def _serving_number(self) -> int | None:
        row = self._db.one("SELECT number FROM embedders WHERE is_serving = 1")
        return None if row is None else int(row["number"])

    def _let_serve(self, number: int) -> None:
        self._db.execute("UPDATE embedders SET is_serving = 0 WHERE number <> ?", number)
        self._db.execute("UPDATE embedders SET is_serving = 1 WHERE number = ?", number)

    def _rename_embedders(self, which: str, number: int) -> None:
        """Delete embedders, whose vectors `clear` removes."""
        self._db.execute(f"UPDATE embedders SET name = '/' || number WHERE {which}", number)  # noqa: S608

    def _check_dimension(self, embedder: int, vector: Vectors) -> None:
        """Raises `EmbedderChanged` when the embedder's vectors have another length than this one."""
        row = self._db.one(f"SELECT dimension FROM embedders WHERE number = ? AND NOT ({_DELETED})", embedder)  # noqa: S608
        if row is None:
            raise EmbedderChanged("the vectors of this model were deleted meanwhile")
        if row["dimension"] is None:
            self._db.execute("UPDATE embedders SET dimension = ? WHERE number = ?", vector.size, embedder)
        elif row["dimension"] != vector.size:
            raise EmbedderChanged(
                f"the configured model gives vectors of {vector.size} numbers now, and gave {row['dimension']} before"
            )

    def _embedders(self) -> dict[str, VectorIndex]:
        """What is searched now and what is going to be, by the names of their embedders."""
        name = self.serving.name  # which may change what serves
        serving = {name: self._serving}
        return serving if self._coming is None else serving | {self.embedder.name: self._coming}

    def _reserve(
        self, new: New, embedders: Mapping[str, VectorIndex], begun: list[int]
    ) -> Reservation | ImageRecord | int:
        """A reservation, whose label `begun` gets too; the record of these bytes, or the label that they have yet."""
        image = new.image
        vectors = {embedders[name].embedder: unit(vector) for name, vector in new.vectors.items() if name in embedders}
        for embedder, vector in vectors.items():
            self._check_dimension(embedder, vector)
        if not vectors:
            raise EmbedderChanged("the picture was embedded by a model that serves no more")
        number = self._project_number(new.project, create=True)
        name = str(uuid.uuid4())
        key = f"{self.key_prefix}{new.project}/images/{name}{image.suffix}"
        row = self._db.one(
            "INSERT INTO images (id, project, sha256, r2_key, original_filename, content_type, size_bytes, width, "
            "height, created_at, dominant_color, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending') "
            "ON CONFLICT (project, sha256) DO NOTHING RETURNING label",
            name,
            number,
            image.sha256,
            key,
            image.original_filename,
            image.content_type,
            len(image.content),
            image.width,
            image.height,
            _now(),
            image.dominant_color,
        )
        if row is None:
            other = self._db.one(_SELECT + "WHERE i.project = ? AND i.sha256 = ?", number, image.sha256)
            if other is None:  # deleted between the two statements, where others write too
                raise StoreError("the picture was deleted while it was added; it can be added again")
            return _record(other) if other["state"] == "ready" else int(other["label"])
        label = int(row["label"])
        self._db.claim(_claim(label))
        begun.append(label)
        for index in self._searchable():
            if index.embedder in vectors:
                index.keep(number, label, vectors[index.embedder])
        objects = {thumbnail_key(key): image.thumbnail} if image.thumbnail is not None else {}
        return Reservation(label, number, objects | {key: image.content}, vectors)

    def _after_another(self, label: int) -> ImageRecord | None:
        """What became of the same bytes that were found pending; None while somebody who lives adds them."""
        if label in self._adding or not self._db.claim(_claim(label)):
            return None
        self._settle(label)
        row = self._db.one(_SELECT + "WHERE i.label = ? AND i.state = 'ready'", label)
        return None if row is None else _record(row)

    def _settle_pending(self) -> None:
        """Finish or remove what a crash left half-made or half-deleted; what others are at is left to them."""
        for row in self._db.all("SELECT label FROM images WHERE state = 'pending'"):
            try:
                if self._db.claim(_claim(row["label"])):
                    self._settle(row["label"])
            except StoreError:
                logger.warning("an image that was being added is left to be settled later", exc_info=True)
        self.sweep()  # a few; what a whole project leaves takes a while, and `sweep` is called again

    def _settle(self, label: int) -> None:
        """Finish or remove what was left pending by somebody who is gone; it is claimed."""
        row = self._db.one("SELECT label, project, r2_key, sha256, state FROM images WHERE label = ?", label)
        try:
            if row is None or row["state"] != "pending":
                return
            vectors = {each.embedder: vector for each in self._searchable() if (vector := each.read(label)) is not None}
            reservation = Reservation(label, row["project"], dict.fromkeys(_keys(row["r2_key"]), b""), vectors)
            if self._is_stored(row["r2_key"], row["sha256"]):
                with suppress(ProjectNotFound):  # `clear` removes it
                    self.complete([reservation])
            else:
                self.withdraw(reservation)
        finally:
            self._db.release(_claim(label))

    def _let_go(self, label: int) -> None:
        self._adding.discard(label)
        self._db.release(_claim(label))

    def _is_stored(self, key: str, sha256: str) -> bool:
        try:
            return hashlib.sha256(self._objects.get(key)).hexdigest() == sha256
        except NotFound:
            return False

    def add_tombstones(self, keys: Iterable[str]) -> None:
        """Remember objects that are to be removed from the store."""
        self._db.execute_each(
            "INSERT INTO tombstones (r2_key) VALUES (?) ON CONFLICT DO NOTHING", [(key,) for key in keys]
        )


def unit(vector: Vectors) -> Vectors:
    """The vector at length 1. Raises `StoreError` for one that has no direction."""
    length = float(np.linalg.norm(vector))
    if vector.ndim != 1 or not np.isfinite(length) or length == 0:
        raise StoreError("the embedder gave something that is not a direction")
    return (vector / length).astype(np.float32)


def thumbnail_key(r2_key: str) -> str:
    """Where the thumbnail of the picture of that key is kept."""
    path = PurePosixPath(r2_key)
    return str(path.parent.with_name("thumbnails") / f"{path.stem}.webp")


def _keys(r2_key: str) -> list[str]:
    """All objects of an image."""
    return [thumbnail_key(r2_key), r2_key]


def _claim(label: int) -> str:
    return f"image {label}"


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _slices(values: Sequence[int] | Sequence[str]) -> Iterator[Sequence[Value]]:
    for begin in range(0, len(values), _AT_ONCE):
        yield values[begin : begin + _AT_ONCE]


def _record(row: Row) -> ImageRecord:
    return ImageRecord._make(map(row.__getitem__, ImageRecord._fields))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
