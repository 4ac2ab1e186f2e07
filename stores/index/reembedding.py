"""Another embedder: images get its vectors while the old one serves, and then it takes over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from stores.database import Database, Vectors
from stores.errors import EmbedderChanged
from stores.index.embedders import EmbedderVectors
from stores.index.records import DELETED, as_text, now, unit

_FIRST_RETRY_SECONDS: Final = 60.0
_LAST_RETRY_SECONDS: Final = 86400.0
_MAX_REASON: Final = 300


class Progress(NamedTuple):
    """How many ready images have a vector of the configured embedder, of how many, and how many could not get one."""

    done: int
    total: int
    failed: int


class Reembedding:
    """What the configured embedder has still to embed.

    `lacking` and `fill` give images its vectors; `fail` passes over one that cannot be embedded, which is lacking
    again after a minute, then two, up to a day. `take_over` lets the embedder serve once nothing is lacking.
    """

    def __init__(self, db: Database, vectors: EmbedderVectors) -> None:
        self._db = db
        self._vectors = vectors

    @property
    def is_pending(self) -> bool:
        """Whether another embedder serves."""
        return self._vectors.coming is not None

    def progress(self) -> Progress:
        """How far it is. Counts all images: to be asked now and then, not by every request."""
        row = self._db.one(
            "SELECT (SELECT count(*) FROM images WHERE state = 'ready') AS total, "
            "(SELECT count(*) FROM vectors WHERE embedder = ?) AS done, "
            "(SELECT count(*) FROM embedding_failures WHERE embedder = ?) AS failed",
            self._vectors.configured_number,
            self._vectors.configured_number,
        )
        assert row is not None
        # images that are being added have vectors too
        return Progress(min(row["done"], row["total"]), row["total"], row["failed"])

    def lacking(self, limit: int, after: int = 0) -> dict[int, str]:
        """Some images without a vector of the configured embedder, by label from `after` on, and their keys.

        Without those that could not be embedded a while ago and are not yet to be tried again.
        """
        rows = self._db.all(
            "SELECT i.label, i.r2_key FROM images i LEFT JOIN vectors v ON v.label = i.label AND v.embedder = ? "
            "LEFT JOIN embedding_failures f ON f.label = i.label AND f.embedder = ? "
            "WHERE i.state = 'ready' AND v.label IS NULL AND i.label > ? AND (f.label IS NULL OR f.retry_at <= ?) "
            "ORDER BY i.label LIMIT ?",
            self._vectors.configured_number,
            self._vectors.configured_number,
            after,
            now(),
            limit,
        )
        return {row["label"]: row["r2_key"] for row in rows}

    def due(self, limit: int) -> dict[int, str]:
        """Some images that could not be embedded and are to be tried again now, by label, and their keys."""
        rows = self._db.all(
            "SELECT i.label, i.r2_key FROM embedding_failures f JOIN images i ON i.label = f.label "
            "WHERE f.embedder = ? AND f.retry_at <= ? AND i.state = 'ready' ORDER BY f.retry_at LIMIT ?",
            self._vectors.configured_number,
            now(),
            limit,
        )
        return {row["label"]: row["r2_key"] for row in rows}

    def fill(self, vectors: Mapping[int, Vectors]) -> None:
        """Take in vectors of the configured embedder, by label; of images that were deleted meanwhile they are lost.

        Raises:
            EmbedderChanged: one has another dimension than the others.
        """
        into = self._vectors.coming or self._vectors.serving
        with self._db.transaction():
            kept = []
            for label, vector in vectors.items():
                row = self._db.one("SELECT project FROM images WHERE label = ? AND state = 'ready'", label)
                if row is not None:
                    self._vectors.check_dimension(into.embedder, vector)
                    into.keep(row["project"], label, unit(vector))
                    kept.append((row["project"], label))
            self._db.execute_each(
                "DELETE FROM embedding_failures WHERE label = ? AND embedder = ?",
                [(label, into.embedder) for label in vectors],
            )
        for project, label in kept:
            into.add(project, label, unit(vectors[label]))

    def fail(self, label: int, reason: str) -> float:
        """Note that an image cannot be embedded now, and why; in how many seconds it is to be tried again."""
        number = self._vectors.configured_number
        with self._db.transaction():
            row = self._db.one(
                "SELECT attempts FROM embedding_failures WHERE label = ? AND embedder = ?", label, number
            )
            attempts = 1 if row is None else row["attempts"] + 1
            seconds = min(_FIRST_RETRY_SECONDS * 2.0 ** (attempts - 1), _LAST_RETRY_SECONDS)
            if self._db.one("SELECT 1 AS one FROM images WHERE label = ?", label) is not None:
                self._db.execute(
                    "INSERT INTO embedding_failures (label, embedder, attempts, retry_at, reason) "
                    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (label, embedder) DO UPDATE "
                    "SET attempts = excluded.attempts, retry_at = excluded.retry_at, reason = excluded.reason",
                    label,
                    number,
                    attempts,
                    as_text(datetime.now(UTC) + timedelta(seconds=seconds)),
                    reason[:_MAX_REASON],
                )
        return seconds

    def take_over(self) -> bool:
        """Go on towards the configured embedder's serving; whether it does. `clear` removes the old one's vectors.

        To be called again and again once nothing is lacking: the new vectors are made ready first, while the old ones
        still serve.
        """
        coming, serving = self._vectors.coming, self._vectors.serving
        if coming is None:
            return True
        coming.warm()
        if not coming.is_ready:
            if coming.needs_tending:
                coming.tend()
            return False
        coming.save()
        number = self._vectors.configured_number
        with self._db.transaction():
            if self._db.one(f"SELECT 1 FROM embedders WHERE number = ? AND NOT ({DELETED})", number) is None:  # noqa: S608
                raise EmbedderChanged("the vectors of the configured model were deleted meanwhile")
            self._vectors.let_serve(number)
            self._db.execute("UPDATE embedders SET name = '/' || number WHERE number = ?", serving.embedder)
        serving.discard()
        self._vectors.serving, self._vectors.coming = coming, None
        return True
