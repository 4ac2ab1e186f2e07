"""The vectors of all projects in memory: read from the database when first needed, their graphs saved beside it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from stores.database import Database, VectorIndex, Vectors
from stores.errors import StoreError
from stores.labels import LabelSet
from stores.vectors import VectorSet

logger = logging.getLogger(__name__)

_EXACT_SETS_BYTES: Final = 512 << 20
"""Memory for the vectors of projects without a graph; the least recently used are read again when needed."""
_TEND: Final = 16
_READ: Final = 1000
_SAVE_AGAIN_SECONDS: Final = 60
_UNFINISHED: Final = ".unfinished"


@dataclass(frozen=True)
class _Saving:
    """A graph that was written, whose file is not yet safe."""

    project: int
    vectors: VectorSet
    file: Path
    unproven: str
    sha256: Future[str]


class SqliteVectors(VectorIndex):
    """One `VectorSet` per project, of one embedder's vectors. The graphs that were saved are loaded at once."""

    def __init__(self, db: Database, graphs: Path, embedder: int, max_elements: int, exact_up_to: int) -> None:
        self.embedder = embedder
        self._db = db
        self._graphs = graphs
        self._max_elements = max_elements
        self._exact_up_to = exact_up_to
        self._sets: OrderedDict[int, VectorSet] = OrderedDict()
        self._no_save_before = 0.0
        self._saving: _Saving | None = None
        self._files = ThreadPoolExecutor(1, thread_name_prefix="search-graphs")
        self._is_warm = False
        graphs.mkdir(exist_ok=True)
        for path in graphs.glob(f"*{_UNFINISHED}"):
            path.unlink()
        self._remove_stray_graphs()
        for row in db.all(
            "SELECT g.project FROM graphs g JOIN projects p ON p.number = g.project AND p.name >= '0' "
            "WHERE g.embedder = ?",
            embedder,
        ):
            self._set(row["project"])

    def save(self) -> None:
        """Save the graphs that changed."""
        self._end_saving()
        for number, vectors in self._sets.items():
            if vectors.has_graph and not vectors.is_saved:
                self._begin_saving(number, vectors)
                self._end_saving()

    def keep(self, project: int, label: int, vector: Vectors) -> None:  # noqa: ARG002
        """Write a vector to the database; see `VectorIndex.keep`."""
        self._db.execute(
            "INSERT INTO vectors (label, embedder, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            label,
            self.embedder,
            vector.astype("<f4").tobytes(),
        )

    def read(self, label: int) -> Vectors | None:
        """The vector in the database."""
        row = self._db.one("SELECT vector FROM vectors WHERE label = ? AND embedder = ?", label, self.embedder)
        return None if row is None else _from_blob(row["vector"])

    def add(self, project: int, label: int, vector: Vectors) -> None:
        """Take in a vector that is in the database now."""
        if project in self._sets:
            self._sets[project].add([label], vector[np.newaxis])

    def remove(self, project: int, label: int) -> None:
        """Drop a vector that the database no longer has."""
        if project in self._sets:
            self._sets[project].remove(label)

    def drop(self, project: int) -> None:
        """Drop a project that is deleted."""
        self._sets.pop(project, None)
        self._db.execute("DELETE FROM graphs WHERE project = ?", project)
        self._remove_stray_graphs()

    @property
    def is_ready(self) -> bool:
        """Whether searches are as fast as they will be."""
        return not self.needs_tending

    def close(self) -> None:
        """Save the graphs that changed."""
        self.save()
        self._files.shutdown()

    def discard(self) -> None:
        """Close, of an embedder that is deleted."""
        if self._saving is not None:
            self._saving.sha256.exception()  # waits
            self._saving.file.unlink()
            self._saving = None
        self._files.shutdown()
        self._db.execute("DELETE FROM graphs WHERE embedder = ?", self.embedder)
        self._remove_stray_graphs()

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        if self._saving is not None and self._saving.sha256.done():
            return True
        return any(vectors.needs_tending or self._is_due_for_saving(vectors) for vectors in self._sets.values())

    def tend(self) -> None:
        """Do some tens of milliseconds of the work that keeps searches fast. Once in a while it writes a graph."""
        if self._saving is not None and self._saving.sha256.done():
            self._end_saving()
            return
        for number, vectors in self._sets.items():
            if vectors.needs_tending:
                vectors.tend(_TEND)
                return
            if self._is_due_for_saving(vectors):
                self._begin_saving(number, vectors)
                return

    def nearest(self, project: int, query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The best of the project; see `VectorIndex.nearest`."""
        vectors = self._set(project)
        return [] if vectors is None else vectors.search(query, limit)

    def nearest_of(self, project: int, labels: Sequence[int], query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The best of these labels; see `VectorIndex.nearest_of`."""
        vectors = self._set(project)
        return [] if vectors is None else vectors.search_among(labels, query, limit)

    def warm(self) -> None:
        """Read the projects that are large enough for a graph, once."""
        if self._is_warm:
            return
        self._is_warm = True
        rows = self._db.all(
            "SELECT i.project, count(*) AS n FROM vectors v JOIN images i ON i.label = v.label "
            "JOIN projects p ON p.number = i.project AND p.name >= '0' "
            "WHERE v.embedder = ? AND i.state = 'ready' GROUP BY i.project",
            self.embedder,
        )
        for row in rows:
            if row["n"] > self._exact_up_to:
                self._set(row["project"])

    def _set(self, number: int) -> VectorSet | None:
        """The project's vectors, read when they are first needed; None when it has none."""
        if number in self._sets:
            self._sets.move_to_end(number)
            return self._sets[number]
        rows = self._db.all(  # CROSS: from the project's images, however few they are beside all vectors
            "SELECT i.label FROM images i CROSS JOIN vectors v ON v.label = i.label AND v.embedder = ? "
            "WHERE i.project = ? AND i.state = 'ready'",
            self.embedder,
            number,
        )
        if not rows:
            return None
        live = [row["label"] for row in rows]
        row = self._db.one("SELECT dimension FROM embedders WHERE number = ?", self.embedder)
        assert row is not None
        vectors = VectorSet(row["dimension"], self._max_elements, self._exact_up_to)
        missing = sorted(live)
        if len(live) > self._exact_up_to:
            in_graph = self._load_graph(number, vectors, LabelSet(live))
            missing = [label for label in missing if label not in in_graph]
        for begin in range(0, len(missing), _READ):
            labels = missing[begin : begin + _READ]
            rows = self._db.all(
                "SELECT label, vector FROM vectors WHERE embedder = ? AND label IN (SELECT value FROM json_each(?))",
                self.embedder,
                json.dumps(labels),
            )
            vectors.add([row["label"] for row in rows], np.stack([_from_blob(row["vector"]) for row in rows]))
        self._sets[number] = vectors
        self._forget_least_used(number)
        return vectors

    def _forget_least_used(self, kept: int) -> None:
        exact = [number for number, vectors in self._sets.items() if not vectors.has_graph and number != kept]
        total = sum(vectors.nbytes for vectors in self._sets.values() if not vectors.has_graph)
        for number in exact:
            if total <= _EXACT_SETS_BYTES:
                return
            total -= self._sets.pop(number).nbytes

    def _load_graph(self, number: int, vectors: VectorSet, live: LabelSet) -> LabelSet:
        """The labels that the saved graph brought; none when there is none or it is damaged: it is rebuilt then.

        The row names one file, and labels are never used twice, so whatever the file has was once true of this
        database; a database restored from a backup names the file that fits it, or one that is gone.
        """
        row = self._db.one(
            "SELECT file, sha256, unproven FROM graphs WHERE project = ? AND embedder = ?", number, self.embedder
        )
        if row is None:
            return LabelSet()
        path = self._graphs / row["file"]
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != row["sha256"]:
                    raise ValueError("its checksum is wrong")
            return vectors.load(path, live, json.loads(row["unproven"]))
        except (OSError, ValueError, RuntimeError) as error:
            logger.warning("the saved search graph of project %d is not used: %s", number, error)
            return LabelSet()

    def _is_due_for_saving(self, vectors: VectorSet) -> bool:
        is_free = self._saving is None and time.monotonic() >= self._no_save_before
        return is_free and vectors.has_graph and vectors.is_worth_saving

    def _begin_saving(self, number: int, vectors: VectorSet) -> None:
        """Write a graph, which nobody may change meanwhile; its file is made safe while searches go on."""
        path = self._graphs / f"{number}-{uuid.uuid4().hex}.hnsw{_UNFINISHED}"
        try:
            vectors.save(path)
        except (OSError, RuntimeError, StoreError) as error:
            self._not_saved(number, vectors, path, error)
            return
        unproven = json.dumps(vectors.unproven)
        self._saving = _Saving(number, vectors, path, unproven, self._files.submit(_safe, path))

    def _end_saving(self) -> None:
        """Let the database name the file that was begun, once it is safe."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        try:
            sha256 = saving.sha256.result()
            if self._sets.get(saving.project) is not saving.vectors:  # the project was deleted meanwhile
                saving.file.unlink()
                return
            file = saving.file.rename(saving.file.with_suffix(""))
            with self._db.transaction():
                self._db.execute(
                    "INSERT OR REPLACE INTO graphs VALUES (?, ?, ?, ?, ?)",
                    saving.project,
                    self.embedder,
                    file.name,
                    sha256,
                    saving.unproven,
                )
        except (OSError, StoreError) as error:
            self._not_saved(saving.project, saving.vectors, saving.file, error)
            return
        self._remove_stray_graphs()

    def _not_saved(self, number: int, vectors: VectorSet, path: Path, error: Exception) -> None:
        # The graph is a copy: without it the next start is slower, and nothing is lost.
        logger.warning("the search graph of project %d could not be saved: %s", number, error)
        path.unlink(missing_ok=True)
        vectors.mark_unsaved()
        self._no_save_before = time.monotonic() + _SAVE_AGAIN_SECONDS

    def _remove_stray_graphs(self) -> None:
        known = {row["file"] for row in self._db.all("SELECT file FROM graphs")}
        for path in self._graphs.iterdir():
            if path.name not in known and path.suffix != _UNFINISHED:
                path.unlink(missing_ok=True)


def _safe(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits, once it is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_blob(blob: bytes) -> Vectors:
    return np.frombuffer(blob, "<f4").astype(np.float32)
