"""Nearest vectors of one project: exact in memory, with an hnswlib graph once there are many.

New vectors enter a tail that is searched exactly. Past `exact_up_to` of them `tend` copies them, a few at a time, into
an hnswlib graph, and drops from the tail what the graph is then seen to find. A search asks both and merges. So an
insert costs nothing, and what the graph lacks (after a crash, or while it is being built) or cannot reach (hnswlib
loses sight of some of a cluster of near-equal vectors) is only slower to search, never missing.

Nothing here is safe for more than one thread at a time; hnswlib's insert must never meet a search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from stores.database import Vectors
from stores.errors import StoreFull
from stores.labels import Labels, LabelSet

EXACT_UP_TO: Final = 20_000
_LINKS: Final = 16
_EF_CONSTRUCTION: Final = 200
_EF_SEARCH: Final = 56
_EF_SEARCH_FOR: Final = 50_000
"""Vectors for which `_EF_SEARCH` candidates are enough; of more, more are looked at."""
_EF_AUDIT: Final = 128
_GROWTH: Final = 1.5
_FETCHED: Final = 4096
"""Vectors copied out of the graph at once."""
_SLACK: Final = 1000
"""Changes that never trigger a save, an audit or a rebuild, however small the graph."""


class VectorSet:
    """Unit vectors under integer labels. A label is used once, never again after its removal."""

    def __init__(self, dimension: int, capacity: int, exact_up_to: int = EXACT_UP_TO) -> None:
        self._dimension = dimension
        self._capacity = capacity
        self._exact_up_to = exact_up_to
        self._tail = _Tail(dimension)
        self._graph: Any = None
        self._in_graph = LabelSet()
        self._deleted_slots = 0
        self._backlog: dict[int, None] = {}
        self._unaudited: dict[int, None] = {}
        self._unsaved_changes = 0
        self._changes_since_audit = 0

    def __len__(self) -> int:
        return len(self._in_graph) + len(self._backlog)

    @property
    def nbytes(self) -> int:
        """Memory of the vectors outside the graph."""
        return self._tail.nbytes

    @property
    def slots(self) -> int:
        """How many vectors the graph has room for; removed ones leave their slots to new ones."""
        return self._graph.get_max_elements() if self._graph else 0

    @property
    def has_graph(self) -> bool:
        """Whether some vectors are in a graph."""
        return self._graph is not None

    @property
    def needs_tending(self) -> bool:
        """Whether `tend` has anything to do."""
        return self._needs_insert or bool(self._unaudited) or self._needs_rebuild

    @property
    def is_worth_saving(self) -> bool:
        """Whether so much of the graph is unsaved that a crash would cost noticeable work."""
        return self._unsaved_changes > max(_SLACK, len(self._in_graph) // 20)

    @property
    def is_saved(self) -> bool:
        """Whether the graph on disk is the graph in memory."""
        return self._unsaved_changes == 0

    @property
    def unproven(self) -> list[int]:
        """Labels in the graph that are searched exactly all the same, since the graph is not known to find them."""
        return [label for label in self._tail.labels if label in self._in_graph]

    def add(self, labels: Sequence[int], vectors: Vectors) -> None:
        """Add unit vectors, float32 [n, dimension], under new labels."""
        self._tail.add(labels, vectors)
        self._backlog.update(dict.fromkeys(labels))

    def remove(self, label: int) -> None:
        """Forget a label; one that is not there is no error."""
        self._tail.remove(label)
        self._backlog.pop(label, None)
        self._unaudited.pop(label, None)
        if label in self._in_graph:
            self._in_graph.remove(label)
            self._graph.mark_deleted(label)
            self._deleted_slots += 1
            self._count_changes(1)

    def search(self, query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The `limit` best (label, cosine) for a unit vector, best first; fewer only when the set has fewer."""
        found = dict(self._search_graph(query, limit))
        found.update(self._tail.search(query, limit))
        return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    def search_among(self, labels: Sequence[int], query: Vectors, limit: int) -> list[tuple[int, float]]:
        """The `limit` best of these labels, compared one by one; labels that are not there are passed over."""
        outside = [label for label in labels if label in self._tail.labels]
        inside = [label for label in labels if label in self._in_graph and label not in self._tail.labels]
        found: list[tuple[int, float]] = []
        if outside:
            found += zip(outside, (self._tail.vectors(outside) @ query).tolist(), strict=True)
        for begin in range(0, len(inside), _FETCHED):
            some = inside[begin : begin + _FETCHED]
            scores = np.asarray(self._graph.get_items(some), np.float32) @ query
            found += zip(some, scores.tolist(), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:limit]

    def tend(self, count: int) -> None:
        """Do a slice of the work that keeps searches fast, on up to `count` vectors."""
        if self._needs_rebuild:
            self._drop_graph()
        if self._needs_insert:
            self._insert([label for label, _ in zip(self._backlog, range(count), strict=False)])
        elif self._unaudited:
            self._audit([label for label, _ in zip(self._unaudited, range(count), strict=False)])

    def save(self, path: Path) -> None:
        """Write the graph to `path`, and take it for saved; `mark_unsaved` if it does not last.

        Raises:
            StoreFull: the file came out short; hnswlib itself does not look.
        """
        self._graph.save_index(str(path))
        if path.stat().st_size != self._graph.index_file_size():
            raise StoreFull("the disk is full: the search graph could not be saved")
        self._unsaved_changes = 0

    def mark_unsaved(self) -> None:
        """Note that the graph on disk is of another time, and worth being replaced."""
        self._unsaved_changes += max(_SLACK, len(self._in_graph) // 20) + 1

    def load(self, path: Path, live: LabelSet, unproven: Sequence[int]) -> LabelSet:
        """Take over the graph in `path` into this empty set, less what is not in `live`; the labels it has, to read.

        Raises:
            RuntimeError: hnswlib cannot read the file.
        """
        graph = _hnsw_index(self._dimension)
        graph.load_index(str(path), max_elements=self._capacity, allow_replace_deleted=True)
        self._graph, self._deleted_slots = graph, 0
        saved = np.array(graph.get_ids_list(), np.int64)
        is_live = live.has(saved)
        self._in_graph.update(saved[is_live])
        for label in saved[~is_live].tolist():
            self._deleted_slots += 1
            with suppress(RuntimeError):  # it was deleted already when the graph was saved; hnswlib has no way to ask
                graph.mark_deleted(label)
        self._tail_from_graph([label for label in unproven if label in self._in_graph])
        return self._in_graph

    @property
    def _needs_insert(self) -> bool:
        return bool(self._backlog) and len(self) > self._exact_up_to

    @property
    def _needs_rebuild(self) -> bool:
        """Whether so many slots of the graph are dead that searches pay more for them than a new graph would cost."""
        return self._deleted_slots > len(self._backlog) + max(_SLACK, len(self._in_graph) // 4)

    def _search_graph(self, query: Vectors, limit: int) -> list[tuple[int, float]]:
        wanted = min(limit, len(self._in_graph))
        if not wanted:
            return []
        try:
            ef = int(_EF_SEARCH * max(1.0, len(self._in_graph) / _EF_SEARCH_FOR) ** 0.25)
            labels, scores = self._ask_graph(query[np.newaxis], wanted, ef)
        except RuntimeError:  # the graph has come apart and reaches fewer than `wanted`
            self._drop_graph()
            return []
        return list(zip(labels[0].tolist(), scores[0].tolist(), strict=True))

    def _ask_graph(self, queries: Vectors, limit: int, ef: int) -> tuple[Labels, Vectors]:
        self._graph.set_ef(max(limit + self._deleted_slots, ef))
        labels, distances = self._graph.knn_query(queries, k=limit, num_threads=1)
        return labels.astype(np.int64), 1.0 - distances

    def _insert(self, labels: list[int]) -> None:
        self._make_room(len(labels))
        self._graph.add_items(self._tail.vectors(labels), labels, num_threads=1, replace_deleted=True)
        self._deleted_slots = max(0, self._deleted_slots - len(labels))
        for label in labels:
            self._in_graph.add(label)
            del self._backlog[label]
        self._unaudited.update(dict.fromkeys(labels))
        self._count_changes(len(labels))

    def _make_room(self, count: int) -> None:
        if self._graph is None:
            self._graph = _hnsw_index(self._dimension)
            self._graph.init_index(
                max_elements=max(self._capacity, count),
                M=_LINKS,
                ef_construction=_EF_CONSTRUCTION,
                allow_replace_deleted=True,
            )
        needed = self._graph.get_current_count() + max(0, count - self._deleted_slots)
        if needed > self._graph.get_max_elements():
            self._graph.resize_index(max(needed, int(self._graph.get_max_elements() * _GROWTH)))

    def _audit(self, labels: list[int]) -> None:
        """Whether the graph finds these vectors when it is asked for them; what it does not find goes to the tail."""
        vectors = np.asarray(self._graph.get_items(labels), np.float32)
        try:
            _, scores = self._ask_graph(vectors, 1, _EF_AUDIT)
        except RuntimeError:
            self._drop_graph()
            return
        is_found = scores[:, 0] > np.einsum("ij,ij->i", vectors, vectors) - 1e-5
        for label, vector, found in zip(labels, vectors, is_found, strict=True):
            del self._unaudited[label]
            if found:
                self._tail.remove(label)
            elif label not in self._tail.labels:
                self._tail.add([label], vector[np.newaxis])

    def _count_changes(self, count: int) -> None:
        self._unsaved_changes += count
        self._changes_since_audit += count
        # Inserts cut links of their neighbours, so that what was found once may be lost: look at all again.
        if self._changes_since_audit > max(_SLACK, len(self._in_graph) // 10):
            self._unaudited = dict.fromkeys(self._in_graph)
            self._changes_since_audit = 0

    def _drop_graph(self) -> None:
        known = self._tail.labels
        self._tail_from_graph([label for label in self._in_graph if label not in known])
        self._backlog.update(dict.fromkeys(self._in_graph))
        self._graph, self._in_graph, self._deleted_slots = None, LabelSet(), 0
        self._unaudited, self._unsaved_changes, self._changes_since_audit = {}, 0, 0

    def _tail_from_graph(self, labels: list[int]) -> None:
        if labels:
            self._tail.add(labels, np.asarray(self._graph.get_items(labels), np.float32))


class _Tail:
    """Vectors in one growing matrix; a removed row is filled with the last one."""

    def __init__(self, dimension: int) -> None:
        self._vectors: Vectors = np.empty((0, dimension), np.float32)
        self._labels: Labels = np.empty(0, np.int64)
        self._row: dict[int, int] = {}

    @property
    def labels(self) -> Collection[int]:
        return self._row.keys()

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes

    def add(self, labels: Sequence[int], vectors: Vectors) -> None:
        begin, end = len(self._row), len(self._row) + len(labels)
        if end > len(self._labels):
            room = max(end, int(len(self._labels) * _GROWTH))
            self._vectors = np.concatenate(
                [self._vectors[:begin], np.empty((room - begin, vectors.shape[1]), np.float32)]
            )
            self._labels = np.concatenate([self._labels[:begin], np.empty(room - begin, np.int64)])
        self._vectors[begin:end] = vectors
        self._labels[begin:end] = labels
        self._row.update(zip(labels, range(begin, end), strict=True))

    def remove(self, label: int) -> None:
        row = self._row.pop(label, None)
        last = len(self._row)
        if row is not None and row != last:
            self._vectors[row], self._labels[row] = self._vectors[last], self._labels[last]
            self._row[int(self._labels[last])] = row
        if last < len(self._labels) // 4:
            self._vectors, self._labels = self._vectors[:last].copy(), self._labels[:last].copy()

    def vectors(self, labels: Sequence[int]) -> Vectors:
        return self._vectors[[self._row[label] for label in labels]]

    def search(self, query: Vectors, limit: int) -> list[tuple[int, float]]:
        count = len(self._row)
        scores = self._vectors[:count] @ query
        best = np.argpartition(-scores, limit)[:limit] if limit < count else np.arange(count)
        return list(zip(self._labels[best].tolist(), scores[best].tolist(), strict=True))


def _hnsw_index(dimension: int) -> Any:
    """An hnswlib index by inner product, which for unit vectors is the cosine; still to be initialised or loaded."""
    import hnswlib

    return hnswlib.Index(space="ip", dim=dimension)
