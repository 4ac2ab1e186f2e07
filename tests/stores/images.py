"""Pictures and vectors for tests of the image index, and the index opened over either database."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stores.database import Database, Vectors
from stores.errors import KeyNotFound, StoreError
from stores.index.index import ImageIndex
from stores.index.records import Embedder, ImageRecord, NewImage, NewRecord, Reservation
from stores.objects import ObjectStore
from stores.postgres import Postgres
from stores.sqlite import Sqlite

DIMENSION = 16


class Memory:
    """Objects in a dict."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, content: bytes) -> None:
        self.objects[key] = content

    def get(self, key: str) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise KeyNotFound(key) from None

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self.objects

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))


def open_database(where: Path | str, **options: Any) -> Database:
    """SQLite in a file, or PostgreSQL at an address."""
    return Sqlite(where, **options) if isinstance(where, Path) else Postgres(where, **options)


class StoredIndex(ImageIndex):
    """The index with the store of its objects, used in turn as the search deployment uses them."""

    def __init__(self, db: Database, embedder: Embedder, objects: ObjectStore, key_prefix: str = "") -> None:
        super().__init__(db, embedder, key_prefix=key_prefix)
        self.objects = objects

    def add(self, project: str, image: NewImage, vector: Vectors) -> tuple[ImageRecord, bool]:
        """The image's record, and whether the project had these bytes."""
        reserved = self.reserve(project, image, vector)
        if isinstance(reserved, ImageRecord):
            return reserved, True
        assert isinstance(reserved, Reservation)
        try:
            for key, content in reserved.objects.items():
                self.objects.put(key, content)
        except StoreError:
            self.adding.withdraw(reserved)
            raise
        return self.adding.complete([reserved])[0], False

    def reserve(self, project: str, image: NewImage, vector: Vectors) -> object:
        """What `Adding.reserve` says of one image with the configured embedder's vector."""
        (reserved,) = self.adding.reserve([NewRecord(project, image, {self._vectors.configured.name: vector})])
        return reserved

    def settle(self) -> None:
        """Finish or remove what dead processes have left pending."""
        for each in self.adding.abandoned():
            try:
                content = self.objects.get(each.r2_key)
            except KeyNotFound:
                content = b""
            self.adding.settle(each, is_stored=hashlib.sha256(content).hexdigest() == each.sha256)

    def sweep(self) -> None:
        """Remove what is left of everything that was deleted."""
        while self.deleting.clear():
            continue
        while keys := self.deleting.tombstoned_keys():
            for key in keys:
                self.objects.delete(key)
            self.deleting.forget(keys)


def open_index(
    where: Path | str, objects: ObjectStore, embedder: str = "clip", key_prefix: str = "", **options: Any
) -> StoredIndex:
    """The index after a start: with what was left half-done finished or removed."""
    index = StoredIndex(open_database(where, **options), Embedder(embedder), objects, key_prefix)
    index.settle()
    index.sweep()
    return index


def image(content: bytes | int, name: str = "picture.png", content_type: str = "image/png") -> NewImage:
    content = content if isinstance(content, bytes) else b"%d" % content
    return NewImage(content, name, content_type, ".png", 4, 3, "#0a0b0c", b"small " + content)


def directions(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def axis(number: int) -> Vectors:
    vector = np.zeros(DIMENSION, np.float32)
    vector[number] = 1
    return vector


def exact(vectors: Vectors, queries: Vectors, limit: int) -> list[list[int]]:
    found: list[list[int]] = np.argsort(-(queries @ vectors.T), axis=1)[:, :limit].tolist()
    return found
