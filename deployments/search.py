"""Image search: the index of pictures, and the embedder's words and pictures looked up in it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from ray.serve.handle import DeploymentHandle

from deployments.storage import PICTURE_SUFFIXES
from models.pictures import ACCEPTED, open_picture, sniff
from stores.index import ImageIndex, ImageRecord, NewImage, Page, Project
from stores.objects import ObjectStore

logger = logging.getLogger("ray.serve")

T = TypeVar("T")
Hits = list[tuple[ImageRecord, float]]

_MAX_FILENAME = 255


class Search:
    """Adds, lists, finds and deletes pictures. One replica only: it is the index's one writer.

    SQLite, the object files and hnswlib are used from one thread, in turn, so that nothing blocks the event loop and
    no search meets an insert. Every method raises what `stores.errors` names.
    """

    def __init__(
        self,
        folder: Path,
        files: Callable[[], ObjectStore],
        embedder: DeploymentHandle,
        embedder_name: str,
        max_elements: int = 50_000,
        key_prefix: str = "AI/SEARCH/",
        database: str = "image_search.db",
    ) -> None:
        """`files` opens the store of the pictures.

        `embedder` has `embed_texts` and `embed_images`; `embedder_name` changes when its vectors do.
        """
        self._embedder = embedder
        self._upkeep: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="image-index")
        self._index = self._thread.submit(
            lambda: ImageIndex(
                folder / database,
                files(),
                embedder_name,
                max_elements=max_elements,
                key_prefix=key_prefix,
            )
        ).result()

    def __del__(self) -> None:
        """Close; Serve calls this when it stops a replica."""
        if hasattr(self, "_index"):
            self.close()

    def close(self) -> None:
        """Save the search graphs and close the index; safe to call twice."""
        self._thread.shutdown()
        self._index.close()

    async def add(self, project: str, filename: str, content: bytes) -> tuple[ImageRecord, bool]:
        """Store a picture; its record, and whether the project had the same bytes already.

        Raises:
            InvalidImage: not a picture that we read.
        """
        image = await asyncio.to_thread(_examine, filename, content)
        known = await self._call(lambda: self._index.find(project, hashlib.sha256(content).hexdigest()))
        if known is not None:
            return known, True
        vectors: np.ndarray = await self._embedder.embed_images.remote([content])
        added = await self._call(lambda: self._index.add(project, image, vectors[0]))
        self._tend_soon()
        return added

    async def page(self, project: str, limit: int, after: str | None = None) -> Page:
        """Some of the project's records; see `ImageIndex.page`."""
        return await self._call(lambda: self._index.page(project, limit, after))

    async def get(self, project: str, image_id: str) -> ImageRecord:
        """One record."""
        return await self._call(lambda: self._index.get(project, image_id))

    async def search_text(self, project: str, query: str, limit: int, min_score: float | None = None) -> Hits:
        """The pictures that fit the words best."""
        vectors: np.ndarray = await self._embedder.embed_texts.remote([query])
        return await self._nearest(project, lambda: vectors[0], limit, min_score)

    async def search_image(self, project: str, image: bytes, limit: int, min_score: float | None = None) -> Hits:
        """The pictures most like an encoded one.

        Raises:
            InvalidImage: not a picture that we read.
        """
        await asyncio.to_thread(open_picture, image, "image")
        vectors: np.ndarray = await self._embedder.embed_images.remote([image])
        return await self._nearest(project, lambda: vectors[0], limit, min_score)

    async def search_id(self, project: str, image_id: str, limit: int, min_score: float | None = None) -> Hits:
        """The pictures most like a stored one, itself first."""
        return await self._nearest(project, lambda: self._index.vector(project, image_id), limit, min_score)

    async def delete(self, project: str, image_id: str) -> None:
        """Delete a picture and its file."""
        await self._call(lambda: self._index.delete(project, image_id))
        self._tend_soon()

    async def projects(self) -> list[Project]:
        """All projects, with their numbers of pictures."""
        return await self._call(self._index.projects)

    async def delete_project(self, project: str) -> None:
        """Delete a project with its pictures and their files."""
        await self._call(lambda: self._index.delete_project(project))
        while await self._call(self._index.sweep):
            continue

    async def _nearest(
        self, project: str, vector: Callable[[], np.ndarray], limit: int, min_score: float | None
    ) -> Hits:
        hits = await self._call(lambda: self._index.search(project, vector(), limit, min_score))
        self._tend_soon()
        return hits

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _tend_soon(self) -> None:
        if self._upkeep is None or self._upkeep.done():
            self._upkeep = asyncio.create_task(self._tend())

    async def _tend(self) -> None:
        """Do the index's upkeep in slices, between which requests have their turn."""
        try:
            while await self._call(lambda: self._index.needs_tending):
                await self._call(self._index.tend)
        except Exception:
            # Searches are right without it, only slower; the next request starts it again.
            logger.exception("the upkeep of the image index failed")


def _examine(filename: str, content: bytes) -> NewImage:
    kind, _, _ = sniff(content, "file")
    width, height = open_picture(content, "file").size
    return NewImage(content, _shown_name(filename), ACCEPTED[kind], PICTURE_SUFFIXES[kind], width, height)


def _shown_name(filename: str) -> str:
    """The last part of the client's name for its file, without control characters: it is shown, never a path."""
    last = re.split(r"[/\\]", filename)[-1]
    clean = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cs")).strip()
    return clean[:_MAX_FILENAME] or "upload"
