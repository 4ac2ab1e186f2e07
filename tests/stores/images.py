"""Pictures and vectors for tests of the image index, and the index opened over either database."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stores.database import Database, Vectors
from stores.errors import KeyNotFound
from stores.index import Embedder, ImageIndex, NewImage
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


def open_index(
    where: Path | str, objects: ObjectStore, embedder: str = "clip", key_prefix: str = "", **options: Any
) -> ImageIndex:
    return ImageIndex(open_database(where, **options), objects, Embedder(embedder), key_prefix=key_prefix)


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
