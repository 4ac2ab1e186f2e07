"""The search part in this process, over real stores, with an embedder that sees colours."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from ray.serve.handle import DeploymentHandle

from deployments.search.deployment import Model, Search
from models.pictures import open_picture
from stores.backup import Backups
from stores.errors import (
    UploadFailed,
)
from stores.index.index import ImageIndex
from stores.index.records import Embedder
from stores.objects import FileStore, ObjectStore
from tests.stores.images import open_database

COLOUR_EMBEDDER = Embedder("colours")


COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColourEmbedder:
    """Mean colour as the vector, for words and for pictures."""

    def __init__(self) -> None:
        self.asked = 0

    async def embed_texts(self, texts: list[str]) -> np.ndarray:
        return _unit(np.array([np.sum([COLOURS[w] for w in text.split()], axis=0) for text in texts], np.float32))

    async def embed_images(self, *images: bytes) -> np.ndarray:
        self.asked += len(images)
        return _unit(np.array([np.asarray(open_picture(i)).mean((0, 1)) + 1 for i in images], np.float32))

    async def ready(self) -> None:
        return None

    async def count(self) -> int:
        return self.asked


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def picture(colour: tuple[int, int, int], kind: str = "PNG", exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), colour).save(buffer, kind, exif=exif)
    return buffer.getvalue()


def open_search(
    folder: Path,
    handle: DeploymentHandle,
    embedder: Embedder = COLOUR_EMBEDDER,
    *,
    files: Callable[[], ObjectStore] | None = None,
    where: Path | str | None = None,
    with_backups: bool = False,
) -> Search:
    database = folder / "images.db"

    def index() -> ImageIndex:
        return ImageIndex(open_database(where or database), embedder, key_prefix="AI/SEARCH/")

    return Search(
        files or partial(FileStore, folder / "files"),
        index,
        embedder,
        handle,
        Model("colours", 60),
        (lambda store: Backups(FileStore(folder / "backups"))) if with_backups else None,
        database if with_backups else None,
    )


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("images.db.before-restore-*"))


async def eventually(is_so: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not await is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


class Moody(FileStore):
    """A store that takes or deletes nothing for a while."""

    refuses = ""

    def put(self, key: str, content: bytes) -> None:
        if self.refuses == "put" and "/images/" in key:
            raise UploadFailed("not now")
        super().put(key, content)

    def delete(self, key: str) -> None:
        if self.refuses in ("delete", key):
            raise UploadFailed("not now")
        super().delete(key)
