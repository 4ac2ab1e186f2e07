"""Which embedder's vectors are searched, and which are going to be."""

from __future__ import annotations

from collections.abc import Iterator

from stores.database import Database, VectorIndex, Vectors
from stores.errors import EmbedderChanged
from stores.index.records import DELETED, Embedder


class EmbedderVectors:
    """The vectors of the embedder that serves, and of the configured one while it does not serve yet."""

    def __init__(self, db: Database, configured: Embedder) -> None:
        self._db = db
        self.configured = configured
        with db.transaction():
            self.configured_number = self._number_of(configured)
            has_images = db.one("SELECT 1 AS one FROM images LIMIT 1") is not None
            if not has_images or self._serving_number() is None:
                self.let_serve(self.configured_number)
            if not db.is_shared:  # or another process may be giving images its vectors
                db.execute(
                    "UPDATE embedders SET name = '/' || number WHERE number <> ? AND is_serving = 0",
                    self.configured_number,
                )
        serving = self._serving_number()
        assert serving is not None
        self.serving = db.vectors(serving)
        """What is searched."""
        self.coming = db.vectors(self.configured_number) if self.configured_number != serving else None
        """What is going to be searched once all images have vectors of the configured embedder."""

    def refresh(self) -> Embedder:
        """Look which embedder serves: another process may have changed that."""
        row = self._db.one("SELECT number, name, entry FROM embedders WHERE is_serving = 1")
        assert row is not None
        if self.coming is not None and row["number"] == self.coming.embedder:
            self.serving, self.coming = self.coming, None
        elif row["number"] != self.serving.embedder:
            self.serving = self._db.vectors(row["number"])
        return Embedder(row["name"], row["entry"])

    def all(self) -> Iterator[VectorIndex]:
        """What is searched, and what is going to be."""
        yield self.serving
        if self.coming is not None:
            yield self.coming

    def by_name(self) -> dict[str, VectorIndex]:
        """What is searched and what is going to be, by the names of their embedders."""
        name = self.refresh().name  # which may change `serving`
        serving = {name: self.serving}
        return serving if self.coming is None else serving | {self.configured.name: self.coming}

    def check_dimension(self, embedder: int, vector: Vectors) -> None:
        """Raises `EmbedderChanged` when the embedder's vectors have another length than this one."""
        row = self._db.one(f"SELECT dimension FROM embedders WHERE number = ? AND NOT ({DELETED})", embedder)  # noqa: S608
        if row is None:
            raise EmbedderChanged("the vectors of this model were deleted meanwhile")
        if row["dimension"] is None:
            self._db.execute("UPDATE embedders SET dimension = ? WHERE number = ?", vector.size, embedder)
        elif row["dimension"] != vector.size:
            raise EmbedderChanged(
                f"the configured model gives vectors of {vector.size} numbers now, and gave {row['dimension']} before"
            )

    def let_serve(self, number: int) -> None:
        """Note in the database that an embedder serves, and no other."""
        self._db.execute("UPDATE embedders SET is_serving = 0 WHERE number <> ?", number)
        self._db.execute("UPDATE embedders SET is_serving = 1 WHERE number = ?", number)

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        return any(vectors.needs_tending for vectors in self.all())

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it saves a graph."""
        for vectors in self.all():
            if vectors.needs_tending:
                vectors.tend()
                return

    def close(self) -> None:
        """Save what would take long to be made again."""
        for vectors in self.all():
            vectors.close()

    def _number_of(self, embedder: Embedder) -> int:
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
