"""Deleting images and projects: the rows go and leave tombstones, then the objects go, then the tombstones.

A deleted project loses its name first, and its rows in slices, so that no request waits for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from stores.database import Database, Row
from stores.index.adding import Adding
from stores.index.embedders import EmbedderVectors
from stores.index.records import (
    DEFAULT_PROJECT,
    DELETED,
    Records,
    claim_name,
    object_keys,
    placeholders,
    slices,
)

PAGE_SIZE: Final = 100
"""Keys of objects that are deleted in one go."""
_SLICE: Final = 100
"""Rows that are deleted at once, while searches wait."""
_CLEARING: Final = "clearing"
_OBJECT: Final = re.compile(r"(?P<project>[^/]+)/(images|thumbnails)/(?P<id>[0-9a-f-]{36})\.[a-z]+")


class Deleting:
    """What is deleted, and what of it is still to be removed."""

    def __init__(
        self, db: Database, records: Records, vectors: EmbedderVectors, adding: Adding, key_prefix: str
    ) -> None:
        self._db = db
        self._records = records
        self._vectors = vectors
        self._adding = adding
        self._key_prefix = key_prefix

    def delete(self, project: str, image_id: str) -> list[str]:
        """Delete a record; the keys of its objects, to be removed. Raises `ProjectNotFound`, `NotFound`."""
        row = self._records.row(project, image_id)
        keys = object_keys(row["r2_key"])
        with self._db.transaction():
            self._records.add_tombstones(keys)
            self._db.execute("DELETE FROM images WHERE label = ?", row["label"])
        for vectors in self._vectors.all():
            vectors.remove(row["project"], row["label"])
        return keys

    def delete_project(self, project: str) -> None:
        """Delete a project with all its records; `clear` removes its rows and leaves tombstones of its objects.

        Raises:
            ProjectNotFound: no such project.
        """
        number = self._records.project_number(project)
        with self._db.transaction():
            self._db.execute("UPDATE projects SET name = '/' || number WHERE number = ?", number)
            self._records.ensure_project(DEFAULT_PROJECT)
        for vectors in self._vectors.all():
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

    def tombstoned_keys(self, limit: int = PAGE_SIZE, after: str = "") -> list[str]:
        """Some keys, from `after` on, of objects that are to be removed; `forget` them then."""
        rows = self._db.all("SELECT r2_key FROM tombstones WHERE r2_key > ? ORDER BY r2_key LIMIT ?", after, limit)
        return [row["r2_key"] for row in rows]

    def forget(self, keys: Sequence[str]) -> None:
        """Note that the objects of these keys are gone."""
        with self._db.transaction():
            self._db.execute_each("DELETE FROM tombstones WHERE r2_key = ?", [(key,) for key in keys])

    def unknown(self, keys: Sequence[str]) -> dict[str, str]:
        """Those of these keys that could be of an image and are of none, with its id; other things are left out."""
        ids: dict[str, str] = {}
        for key in keys:
            match = _OBJECT.fullmatch(key.removeprefix(self._key_prefix)) if key.startswith(self._key_prefix) else None
            if match:
                ids[key] = match["id"]
        known = set[str]()
        for some in slices(list(ids.values())):
            rows = self._db.all(f"SELECT id FROM images WHERE id IN ({placeholders(some)})", *some)  # noqa: S608
            known |= {row["id"] for row in rows}
        return {key: image_id for key, image_id in ids.items() if image_id not in known}

    def _clear_project(self) -> bool:
        project = self._db.one(f"SELECT number FROM projects WHERE {DELETED} LIMIT 1")  # noqa: S608
        if project is None:
            return False
        number = project["number"]
        rows = self._db.all(  # neighbours, so that few pages are touched
            "SELECT label, r2_key FROM images WHERE project = ? AND state = 'ready' ORDER BY position LIMIT ?",
            number,
            _SLICE,
        )
        if not rows and self._db.one("SELECT label FROM images WHERE project = ? LIMIT 1", number) is not None:
            return self._clear_abandoned(number)
        with self._db.transaction():
            if rows:
                self._delete_rows(rows)
            else:
                self._db.execute("DELETE FROM projects WHERE number = ?", number)
        if not rows:
            for vectors in self._vectors.all():
                vectors.drop(number)
        return True

    def _clear_abandoned(self, project: int) -> bool:
        """Remove what dead processes were adding to a deleted project; whether there was anything."""
        rows = self._db.all(
            "SELECT label, r2_key FROM images WHERE project = ? AND state = 'pending' LIMIT ?", project, _SLICE
        )
        claims = ((row, claim_name(row["label"])) for row in rows if not self._adding.is_adding(row["label"]))
        free = [(row, claim) for row, claim in claims if self._db.claim(claim)]
        try:
            with self._db.transaction():
                self._delete_rows([row for row, _ in free])
        finally:
            for _, claim in free:
                self._db.release(claim)
        return bool(free)

    def _delete_rows(self, rows: Sequence[Row]) -> None:
        """Delete images, by label and key, inside a transaction; tombstones of their objects stay."""
        self._records.add_tombstones(key for row in rows for key in object_keys(row["r2_key"]))
        self._db.execute_each("DELETE FROM images WHERE label = ?", [(row["label"],) for row in rows])

    def _clear_embedder(self) -> bool:
        embedder = self._db.one(f"SELECT number FROM embedders WHERE {DELETED} LIMIT 1")  # noqa: S608
        if embedder is None:
            return False
        number = embedder["number"]
        rows = self._db.all("SELECT label FROM vectors WHERE embedder = ? LIMIT ?", number, _SLICE)
        labels = [row["label"] for row in rows]
        if labels:
            where = f"embedder = ? AND label IN ({placeholders(labels)})"
            self._db.execute(f"DELETE FROM vectors WHERE {where}", number, *labels)  # noqa: S608
        else:
            self._db.execute("DELETE FROM embedders WHERE number = ?", number)
        return True
