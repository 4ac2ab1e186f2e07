"""Vectors of a project: what is searched by graph is found as if it were compared one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stores.database import Vectors
from stores.labels import LabelSet
from stores.vectors import VectorSet
from tests.stores.images import DIMENSION, directions, exact


def tend(vectors: VectorSet) -> None:
    while vectors.needs_tending:
        vectors.tend(500)


@pytest.mark.nightly
def test_25000_random_vectors_are_found_as_exactly_searched(tmp_path: Path) -> None:
    data, queries = directions(25_000, 32), directions(100, 32, seed=1)
    truth = exact(data, queries, 10)
    vectors = VectorSet(32, capacity=10_000)
    vectors.add(range(25_000), data)

    def recall() -> float:
        found = [{label for label, _ in vectors.search(query, 10)} for query in queries]
        return float(np.mean([len(f & set(t)) / 10 for f, t in zip(found, truth, strict=True)]))

    assert recall() == 1.0, "exact while the graph is not built"
    vectors.tend(5000)
    assert recall() == 1.0, "exact and graph together"
    tend(vectors)
    assert vectors.has_graph
    assert recall() > 0.9, "noise without any order is the hardest; what models give is found to 0.99 (bench.search)"
    scores = [score for _, score in vectors.search(queries[0], 100)]
    assert len(scores) == 100
    assert scores == sorted(scores, reverse=True)

    vectors.save(tmp_path / "graph")
    loaded = VectorSet(32, capacity=10_000)
    live = set(range(100, 25_000))
    assert set(loaded.load(tmp_path / "graph", LabelSet(live), vectors.unproven)) == live
    assert all(label >= 100 for label, _ in loaded.search(data[5], 100))


def test_results_are_complete_however_many_neighbours_were_deleted() -> None:
    data = directions(3000)
    vectors = VectorSet(DIMENSION, capacity=100, exact_up_to=500)
    vectors.add(range(3000), data)
    tend(vectors)
    order = [label for label, _ in vectors.search(data[0], 3000)]
    assert len(order) == 3000
    for label in order[:900]:
        vectors.remove(label)
    assert [label for label, _ in vectors.search(data[0], 100)] == order[900:1000]
    for label in order[900:2995]:
        vectors.remove(label)
    tend(vectors)
    assert [label for label, _ in vectors.search(data[0], 100)] == order[2995:]


def test_slots_of_deleted_vectors_are_used_again_and_recall_stays() -> None:
    rng = np.random.default_rng(3)
    live = dict(enumerate(directions(2000)))
    vectors = VectorSet(DIMENSION, capacity=2000, exact_up_to=500)
    vectors.add(list(live), np.stack(list(live.values())))
    tend(vectors)
    for round_number in range(6):
        for label in rng.choice(list(live), 600, replace=False).tolist():
            vectors.remove(label)
            del live[label]
        begin = 2000 + 600 * round_number
        fresh = directions(600, seed=begin)
        vectors.add(range(begin, begin + 600), fresh)
        live.update(zip(range(begin, begin + 600), fresh, strict=True))
        tend(vectors)
        labels, matrix = np.array(list(live)), np.stack(list(live.values()))
        queries = directions(50, seed=99)
        for query, truth in zip(queries, exact(matrix, queries, 10), strict=True):
            assert len({label for label, _ in vectors.search(query, 10)} & set(labels[truth].tolist())) >= 9
    assert vectors.slots == 2000


def test_near_equal_vectors_are_all_found() -> None:
    # Alone, hnswlib loses whole clusters of equal vectors, to which nothing outside links.
    rng = np.random.default_rng(0)
    data = directions(20).repeat(100, axis=0) + 0.002 * rng.standard_normal((2000, DIMENSION)).astype(np.float32)
    data[:600] = data[0]
    data /= np.linalg.norm(data, axis=1, keepdims=True)
    vectors = VectorSet(DIMENSION, capacity=2000, exact_up_to=100)
    shuffled = rng.permutation(2000)
    vectors.add(shuffled.tolist(), data[shuffled])
    tend(vectors)
    for label in range(0, 2000, 10):
        assert vectors.search(data[label], 1)[0][1] == pytest.approx(1, abs=1e-5)
    assert {label for label, _ in vectors.search(data[0], 100)} <= set(range(600))


class AsADictionaryWould(RuleBasedStateMachine):
    """Whatever is added, removed, tended, saved and loaded: a search gives what a plain comparison gives."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = VectorSet(4, capacity=2, exact_up_to=6)
        self.live: dict[int, Vectors] = {}
        self.used = 0
        self.folder = Path(tempfile.mkdtemp())

    @rule(count=st.integers(1, 8), seed=st.integers(0, 3))
    def add(self, count: int, seed: int) -> None:
        fresh, labels = directions(count, 4, seed), range(self.used, self.used + count)
        self.vectors.add(labels, fresh)
        self.live.update(zip(labels, fresh, strict=True))
        self.used += count

    @rule(seed=st.integers(0, 1000))
    def remove(self, seed: int) -> None:
        label = seed % (self.used + 1)
        self.vectors.remove(label)
        self.live.pop(label, None)

    @rule(count=st.integers(1, 5))
    def tend(self, count: int) -> None:
        self.vectors.tend(count)

    @precondition(lambda self: self.vectors.has_graph)
    @rule()
    def restart(self) -> None:
        self.vectors.save(self.folder / "graph")
        loaded = VectorSet(4, capacity=2, exact_up_to=6)
        present = loaded.load(self.folder / "graph", LabelSet(self.live), self.vectors.unproven)
        missing = [label for label in self.live if label not in present]
        if missing:
            loaded.add(missing, np.stack([self.live[label] for label in missing]))
        self.vectors = loaded

    @invariant()
    def searches_like_a_plain_comparison(self) -> None:
        assert len(self.vectors) == len(self.live)
        query = directions(1, 4, seed=7)[0]
        expected = sorted((float(vector @ query) for vector in self.live.values()), reverse=True)[:5]
        found = self.vectors.search(query, 5)
        assert [score for _, score in found] == pytest.approx(expected, abs=1e-5)
        assert all(label in self.live for label, _ in found)


TestAsADictionaryWould = AsADictionaryWould.TestCase
TestAsADictionaryWould.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
