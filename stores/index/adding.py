"""Adding images: a record is reserved, its objects are put by the caller, and then it is shown."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from stores.database import Database, VectorIndex
from stores.errors import EmbedderChanged, ProjectNotFound, StoreError
from stores.index.embedders import EmbedderVectors
from stores.index.records import (
    DELETED,
    SELECT,
    Abandoned,
    ImageRecord,
    NewRecord,
    Records,
    Reservation,
    claim_name,
    now,
    object_keys,
    placeholders,
    slices,
    thumbnail_key,
    to_record,
    unit,
)

logger = logging.getLogger(__name__)

_DELETED_MEANWHILE: Final = "the project was deleted while the picture was added to it"


class Adding:
    """The records that are being added.

    `reserve` writes a row (pending) and its vectors in one transaction, the caller puts the objects, and `complete`
    makes the row ready. What a dead process has left pending is `abandoned`, and `settle` finishes or removes it.
    """

    def __init__(self, db: Database, records: Records, vectors: EmbedderVectors, key_prefix: str) -> None:
        self._db = db
        self._records = records
        self._vectors = vectors
        self._key_prefix = key_prefix
        self._keys: dict[int, str] = {}  # of the images that are being added, by label

    def is_adding(self, label: int) -> bool:
        """Whether this process adds the image of that label now."""
        return label in self._keys

    def reserve(self, new: Sequence[NewRecord]) -> list[Reservation | ImageRecord | Abandoned | None]:
        """Begin to add images, in one transaction: all or none.

        For each a reservation, to be given to `complete` or `withdraw`; or the record of these bytes that the project
        has; or what a dead process left of them, to be settled and reserved again; or None when somebody is adding
        them at this moment, and asking again soon will tell.

        Raises:
            EmbedderChanged: a vector has another dimension than those of its embedder.
            InvalidKey: not a name for a project.
        """
        indexes = self._vectors.by_name()
        begun: list[int] = []
        try:
            with self._db.transaction():
                made = [self._reserve(each, indexes, begun) for each in new]
        except BaseException:
            with suppress(StoreError):  # a database that is gone has let go of them
                for label in begun:
                    self._db.release(claim_name(label))
            raise
        self._keys |= {each.label: each.key for each in made if isinstance(each, Reservation)}
        return [self._claim(each) if isinstance(each, Abandoned) else each for each in made]

    def complete(self, reservations: Sequence[Reservation]) -> list[ImageRecord]:
        """Show the images whose objects are there now.

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
            for some in slices(sorted({each.project for each in reservations})):
                if self._db.one(f"SELECT 1 FROM projects WHERE {DELETED} AND number IN ({placeholders(some)})", *some):  # noqa: S608
                    raise ProjectNotFound(_DELETED_MEANWHILE)
        for each in reservations:
            for vectors in self._vectors.all():
                if vectors.embedder in each.vectors:
                    vectors.add(each.project, each.label, each.vectors[vectors.embedder])
            self._release(each.label, each.key)
        found = self._records.by_label([each.label for each in reservations])
        if len(found) < len(reservations):
            raise StoreError("a picture was deleted while it was added")
        return [found[each.label] for each in reservations]

    def withdraw(self, reservation: Reservation) -> None:
        """Take back what was begun; where that fails, the row is left pending, as a dead process would leave it.

        Its objects leave with the tombstones.
        """
        try:
            with self._db.transaction():
                self._records.add_tombstones(reservation.objects)
                self._db.execute(
                    "DELETE FROM images WHERE label = ? AND r2_key = ?", reservation.label, reservation.key
                )
        except StoreError:
            logger.warning("an image that could not be stored is left to be cleaned up later", exc_info=True)
        finally:
            self._release(reservation.label, reservation.key)

    def abandoned(self) -> list[Abandoned]:
        """What dead processes have left pending, claimed; what others are adding is left to them."""
        rows = self._db.all("SELECT label, r2_key, sha256 FROM images WHERE state = 'pending'")
        claimed = [self._claim(Abandoned(row["label"], row["r2_key"], row["sha256"])) for row in rows]
        return [each for each in claimed if each is not None]

    def settle(self, abandoned: Abandoned, *, is_stored: bool) -> None:
        """Show what was left pending when its image's object `is_stored`, else remove it."""
        row = self._db.one(
            "SELECT project FROM images WHERE label = ? AND r2_key = ? AND state = 'pending'",
            abandoned.label,
            abandoned.r2_key,
        )
        if row is None:  # its project was deleted meanwhile
            self._release(abandoned.label, abandoned.r2_key)
            return
        read = ((each.embedder, each.read(abandoned.label)) for each in self._vectors.all())
        vectors = {embedder: vector for embedder, vector in read if vector is not None}
        objects = dict.fromkeys(object_keys(abandoned.r2_key), b"")
        reservation = Reservation(abandoned.label, row["project"], objects, vectors)
        if not is_stored:
            self.withdraw(reservation)
            return
        try:
            self.complete([reservation])
        except BaseException as error:
            self._release(abandoned.label, abandoned.r2_key)
            if not isinstance(error, ProjectNotFound):  # in which case its row goes with the project's others
                raise

    def release(self, abandoned: Abandoned) -> None:
        """Leave it to be settled at another time."""
        self._release(abandoned.label, abandoned.r2_key)

    def _reserve(
        self, new: NewRecord, indexes: Mapping[str, VectorIndex], begun: list[int]
    ) -> Reservation | ImageRecord | Abandoned:
        """A reservation, whose label `begun` gets too; or the record of these bytes; or who has them pending."""
        image = new.image
        vectors = {indexes[name].embedder: unit(vector) for name, vector in new.vectors.items() if name in indexes}
        for embedder, vector in vectors.items():
            self._vectors.check_dimension(embedder, vector)
        if not vectors:
            raise EmbedderChanged("the picture was embedded by a model that no longer serves")
        number = self._records.ensure_project(new.project)
        name = str(uuid.uuid4())
        key = f"{self._key_prefix}{new.project}/images/{name}{image.suffix}"
        label = self._insert(number, name, key, new)
        if label is None:
            other = self._db.one(SELECT + "WHERE i.project = ? AND i.sha256 = ?", number, image.sha256)
            if other is None:  # deleted between the two statements, where others write too
                raise StoreError("the picture was deleted while it was added; it can be added again")
            if other["state"] == "ready":
                return to_record(other)
            return Abandoned(other["label"], other["r2_key"], other["sha256"])
        self._db.claim(claim_name(label))
        begun.append(label)
        for index in self._vectors.all():
            if index.embedder in vectors:
                index.keep(number, label, vectors[index.embedder])
        objects = {thumbnail_key(key): image.thumbnail} if image.thumbnail is not None else {}
        return Reservation(label, number, objects | {key: image.content}, vectors)

    def _insert(self, project: int, image_id: str, key: str, new: NewRecord) -> int | None:
        """The label of a new pending row; None when the project has these bytes."""
        image = new.image
        row = self._db.one(
            "INSERT INTO images (id, project, sha256, r2_key, original_filename, content_type, size_bytes, width, "
            "height, created_at, dominant_color, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending') "
            "ON CONFLICT (project, sha256) DO NOTHING RETURNING label",
            image_id,
            project,
            image.sha256,
            key,
            image.original_filename,
            image.content_type,
            len(image.content),
            image.width,
            image.height,
            now(),
            image.dominant_color,
        )
        return None if row is None else int(row["label"])

    def _claim(self, abandoned: Abandoned) -> Abandoned | None:
        """What was found pending, if nobody who lives adds or settles it."""
        if abandoned.label in self._keys or not self._db.claim(claim_name(abandoned.label)):
            return None
        self._keys[abandoned.label] = abandoned.r2_key
        return abandoned

    def _release(self, label: int, key: str) -> None:
        """Let others add or settle that image; after a restore, the label may be of another one."""
        if self._keys.get(label) == key:
            del self._keys[label]
            with suppress(StoreError):  # a connection that is gone has let go of it
                self._db.release(claim_name(label))
