"""The image index: whole records or none, through crashes, full disks and restarts; right results at any size."""

from __future__ import annotations

import dataclasses
import io
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stores.errors import (
    EmbedderChanged,
    InvalidKey,
    NotFound,
    ProjectNotFound,
    StoreError,
    StoreFull,
    StoreUnusable,
)
from stores.index import ImageIndex, ImageRecord, NewImage
from stores.objects import FileStore
from stores.vectors import EXACT_UP_TO, Vectors, VectorSet
from tests.stores.test_objects import full_disk

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
            raise NotFound(key) from None

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self.get(key))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def exists(self, key: str) -> bool:
        return key in self.objects

    def keys(self, prefix: str = "") -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))


def image(content: bytes | int) -> NewImage:
    return NewImage(
        content if isinstance(content, bytes) else b"%d" % content, "picture.png", "image/png", ".png", 4, 3
    )


def directions(count: int, dimension: int = DIMENSION, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def axis(number: int) -> Vectors:
    vector = np.zeros(DIMENSION, np.float32)
    vector[number] = 1
    return vector


@pytest.fixture
def objects(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def index(tmp_path: Path, objects: FileStore) -> Iterator[ImageIndex]:
    opened = ImageIndex(tmp_path / "images.db", objects, "clip", key_prefix="AI/SEARCH/")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def memory_folder() -> Iterator[Path]:
    """A folder where a write costs nothing, where the system has one: for tests of many records."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        yield Path(name)


# --- records ---


def test_an_added_image_is_got_listed_and_found(index: ImageIndex, objects: FileStore) -> None:
    record, duplicate = index.add("holiday", image(b"sea"), axis(0) * 3)
    assert not duplicate
    assert record.r2_key == f"AI/SEARCH/holiday/images/{record.id}.png"
    assert (record.project_id, record.size_bytes, record.width, record.height) == ("holiday", 3, 4, 3)
    assert record.created_at.endswith("Z")
    assert objects.get(record.r2_key) == b"sea"
    assert index.get("holiday", record.id) == record
    assert index.page("holiday").images == [record]
    ((found, score),) = index.search("holiday", axis(0), 5)
    assert found == record
    assert score == pytest.approx(1.0)
    assert index.vector("holiday", record.id).tolist() == axis(0).tolist()


def test_the_same_bytes_are_one_record_in_a_project_and_two_in_two(index: ImageIndex) -> None:
    first, _ = index.add("a", image(b"x"), axis(0))
    again, duplicate = index.add("a", dataclasses.replace(image(b"x"), original_filename="other.png"), axis(1))
    assert (again, duplicate) == (first, True)
    other, duplicate = index.add("b", image(b"x"), axis(0))
    assert not duplicate
    assert other.id != first.id
    assert len(index.search("a", axis(0), 5)) == 1


def test_bytes_that_were_deleted_can_be_added_again(index: ImageIndex, objects: FileStore) -> None:
    first, _ = index.add("a", image(b"x"), axis(0))
    index.delete("a", first.id)
    assert index.search("a", axis(0), 5) == []
    second, duplicate = index.add("a", image(b"x"), axis(0))
    assert not duplicate
    assert second.id != first.id
    assert [record.id for record, _ in index.search("a", axis(0), 5)] == [second.id]
    assert list(objects.keys()) == [second.r2_key]


def test_pages_neither_repeat_nor_miss_while_images_come_and_go(index: ImageIndex) -> None:
    records = [index.add("a", image(i), axis(i % DIMENSION))[0] for i in range(10)]
    first = index.page("a", 4)
    assert first.images == records[:4]
    assert first.next is not None
    index.delete("a", records[3].id)
    index.delete("a", records[5].id)
    late, _ = index.add("a", image(b"late"), axis(0))
    second = index.page("a", 4, first.next)
    assert second.images == [records[4], *records[6:9]]
    third = index.page("a", 4, second.next)
    assert third.images == [records[9], late]
    assert third.next is None
    assert index.page("a", 4, records[8].id).images == third.images
    with pytest.raises(NotFound):
        index.page("a", 4, records[3].id)


def test_a_page_that_ends_with_the_last_image_has_no_next(index: ImageIndex) -> None:
    for i in range(4):
        index.add("a", image(i), axis(i))
    assert index.page("a", 4).next is None
    assert index.page("default").images == []


def test_unknown_projects_and_images_are_told_apart(index: ImageIndex) -> None:
    record, _ = index.add("a", image(b"x"), axis(0))
    index.add("b", image(b"y"), axis(0))
    for missing in (lambda: index.get("b", record.id), lambda: index.delete("b", record.id)):
        with pytest.raises(NotFound) as caught:
            missing()
        assert not isinstance(caught.value, ProjectNotFound)
    for unknown in (
        lambda: index.get("c", record.id),
        lambda: index.page("c"),
        lambda: index.search("c", axis(0), 1),
        lambda: index.delete("c", record.id),
        lambda: index.delete_project("c"),
    ):
        with pytest.raises(ProjectNotFound):
            unknown()
    assert index.search("default", axis(0), 5) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\n", "x" * 129, "ü"])
def test_a_project_name_that_could_not_be_a_folder_is_refused(index: ImageIndex, name: str) -> None:
    with pytest.raises(InvalidKey):
        index.add(name, image(b"x"), axis(0))


def test_projects_are_counted_and_deleting_one_takes_its_objects_only(index: ImageIndex, objects: FileStore) -> None:
    kept, _ = index.add("keep", image(b"kept"), axis(0))
    for i in range(5):
        index.add("drop", image(i), axis(i))
        index.add("default", image(i), axis(i))
    assert [(p.project_id, p.image_count) for p in index.projects()] == [("default", 5), ("drop", 5), ("keep", 1)]
    index.delete_project("drop")
    index.delete_project("default")
    while index.sweep():
        continue
    assert [(p.project_id, p.image_count) for p in index.projects()] == [("default", 0), ("keep", 1)]
    assert list(objects.keys()) == [kept.r2_key]
    with pytest.raises(ProjectNotFound):
        index.page("drop")


def test_min_score_and_limit_bound_the_results(index: ImageIndex) -> None:
    for i in range(4):
        index.add("a", image(i), np.array([1, i, *[0] * (DIMENSION - 2)], np.float32))
    scores = [score for _, score in index.search("a", axis(0), 10)]
    assert scores == pytest.approx([1, 0.7071, 0.4472, 0.3162], abs=1e-4)
    assert [score for _, score in index.search("a", axis(0), 10, 0.4)] == scores[:3]
    assert [score for _, score in index.search("a", axis(0), 2, 0.4)] == scores[:2]
    assert index.search("a", -axis(0), 10, 0.0) == []


@pytest.mark.parametrize("vector", [np.zeros(4), np.full(4, np.nan), np.full(4, np.inf), np.ones((2, 2))])
def test_what_is_not_a_direction_is_not_stored(index: ImageIndex, objects: FileStore, vector: np.ndarray) -> None:
    with pytest.raises(StoreError):
        index.add("a", image(b"x"), vector.astype(np.float32))
    assert list(objects.keys()) == []


# --- restarts, crashes, full disks ---


def test_a_second_process_is_kept_out_and_let_in_when_the_first_is_gone(tmp_path: Path, objects: FileStore) -> None:
    first = ImageIndex(tmp_path / "images.db", objects, "clip")
    with pytest.raises(StoreUnusable, match="another process"):
        ImageIndex(tmp_path / "images.db", objects, "clip", wait_for_lock=0.2)
    first.close()
    first.close()
    ImageIndex(tmp_path / "images.db", objects, "clip", wait_for_lock=0).close()


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path, objects: FileStore) -> None:
    ImageIndex(tmp_path / "images.db", objects, "clip").close()
    with sqlite3.connect(tmp_path / "images.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / "images.db").read_bytes()
    with pytest.raises(StoreUnusable, match=r"schema 99.*newer version"):
        ImageIndex(tmp_path / "images.db", objects, "clip")
    assert (tmp_path / "images.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, objects: FileStore) -> None:
    (tmp_path / "images.db").write_bytes(b"something else" * 100)
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        ImageIndex(tmp_path / "images.db", objects, "clip")
    assert (tmp_path / "images.db").read_bytes() == b"something else" * 100


def test_its_folder_is_made_and_a_place_where_that_cannot_be_is_named(tmp_path: Path, objects: FileStore) -> None:
    ImageIndex(tmp_path / "new" / "folder" / "images.db", objects, "clip").close()
    (tmp_path / "a file").touch()
    with pytest.raises(StoreUnusable, match=r"a file/images\.db cannot be made or written: .*IMAGE_SEARCH_DB_PATH"):
        ImageIndex(tmp_path / "a file" / "images.db", objects, "clip")


def test_vectors_of_another_embedder_are_never_compared(tmp_path: Path, objects: FileStore) -> None:
    first = ImageIndex(tmp_path / "images.db", objects, "clip")
    record, _ = first.add("a", image(b"x"), axis(0))
    first.close()
    second = ImageIndex(tmp_path / "images.db", objects, "siglip")
    for compare in (lambda: second.search("a", axis(0), 1), lambda: second.vector("a", record.id)):
        with pytest.raises(EmbedderChanged, match="another model"):
            compare()
    assert second.page("a").images == [record]
    added, _ = second.add("b", image(b"y"), np.ones(4, np.float32))
    assert second.search("b", np.ones(4, np.float32), 1)[0][0] == added
    with pytest.raises(EmbedderChanged, match="4 before"):
        second.search("b", axis(0), 1)
    with pytest.raises(EmbedderChanged, match="4 before"):
        second.add("b", image(b"z"), axis(0))
    assert len(second.page("b").images) == 1
    second.close()


ADD_AND_DELETE = """
import sys
from pathlib import Path
import numpy as np
from stores.index import ImageIndex, NewImage
from stores.objects import FileStore
folder, begin = Path(sys.argv[1]), int(sys.argv[2])
index = ImageIndex(folder / "images.db", FileStore(folder / "files"), "clip")
for i in range(begin, begin + 100_000):
    vector = np.random.default_rng(i).standard_normal(16).astype(np.float32)
    record, _ = index.add("a", NewImage(b"%d" % i, "p.png", "image/png", ".png", 4, 3), vector)
    print("+", i, record.id, flush=True)
    if i % 3 == 0:
        index.delete("a", record.id)
        print("-", i, record.id, flush=True)
"""


def test_a_kill_in_the_middle_of_adds_loses_nothing_told_and_leaves_nothing_half(tmp_path: Path) -> None:
    told: dict[str, int] = {}
    deleted: set[str] = set()
    for round_number in range(5):
        begin = round_number * 100_000
        command = [sys.executable, "-c", ADD_AND_DELETE, str(tmp_path), str(begin)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout):
                if count == 7 + 5 * round_number:
                    process.kill()
                sign, number, name = line.split()
                told[name] = int(number)
                if sign == "-":
                    deleted.add(name)
        objects = FileStore(tmp_path / "files")
        index = ImageIndex(tmp_path / "images.db", objects, "clip")
        records = {record.id: record for record in index.page("a").images}
        # The one being added or deleted when the kill came may be there or not; everything else is as told.
        assert {name for name in told if name not in deleted} - set(records) <= {list(told)[-1]}
        assert not deleted & set(records)
        assert len(set(records) - set(told)) <= round_number + 1
        assert sorted(objects.keys()) == sorted(record.r2_key for record in records.values())
        for name, record in records.items():
            assert index.search("a", index.vector("a", name), 1)[0][0] == record
            assert index.add("a", image(objects.get(record.r2_key)), axis(0)) == (record, True)
        told |= dict.fromkeys(records, -1)
        deleted |= set(told) - set(records)  # perhaps one whose deletion was done and not told
        index.close()


class Died(BaseException):
    """What a power cut looks like from inside: nothing handles it."""


class Mortal(FileStore):
    """A file store at which the process dies, before or after it has worked."""

    dies: str = ""

    def put(self, key: str, content: bytes) -> None:
        if self.dies == "before put":
            raise Died
        super().put(key, content)
        if self.dies == "after put":
            raise Died

    def delete(self, key: str) -> None:
        if self.dies == "before delete":
            raise Died
        super().delete(key)
        if self.dies == "after delete":
            raise Died


def _die(index: ImageIndex) -> None:
    index._db.close()


@pytest.mark.parametrize(("moment", "is_there"), [("before put", False), ("after put", True)])
def test_an_add_that_a_crash_interrupted_is_finished_or_undone(tmp_path: Path, moment: str, is_there: bool) -> None:
    objects = Mortal(tmp_path / "files")
    index = ImageIndex(tmp_path / "images.db", objects, "clip")
    index.add("a", image(b"first"), axis(1))
    objects.dies = moment
    with pytest.raises(Died):
        index.add("a", image(b"x"), axis(0))
    assert len(index.page("a").images) == 1
    _die(index)
    objects.dies = ""
    index = ImageIndex(tmp_path / "images.db", objects, "clip")
    records = index.page("a").images
    assert len(records) == 1 + is_there
    assert len(index.search("a", axis(0), 5)) == 1 + is_there
    assert sorted(objects.keys()) == sorted(record.r2_key for record in records)
    assert index.add("a", image(b"x"), axis(0))[1] is is_there
    index.close()


@pytest.mark.parametrize("moment", ["before delete", "after delete"])
def test_a_delete_that_a_crash_interrupted_is_finished(tmp_path: Path, moment: str) -> None:
    objects = Mortal(tmp_path / "files")
    index = ImageIndex(tmp_path / "images.db", objects, "clip")
    record, _ = index.add("a", image(b"x"), axis(0))
    objects.dies = moment
    with pytest.raises(Died):
        index.delete("a", record.id)
    assert index.page("a").images == []
    _die(index)
    objects.dies = ""
    index = ImageIndex(tmp_path / "images.db", objects, "clip")
    assert list(objects.keys()) == []
    assert index.search("a", axis(0), 5) == []
    index.close()


def test_a_full_object_disk_refuses_the_image_and_keeps_the_rest(tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk"):
        objects = FileStore(tmp_path / "disk/files")
        index = ImageIndex(tmp_path / "images.db", objects, "clip")
        kept, _ = index.add("a", image(b"small"), axis(0))
        for _ in range(2):
            with pytest.raises(StoreFull):
                index.add("a", image(bytes(300_000)), axis(1))
        assert index.page("a").images == [kept]
        assert list(objects.keys()) == [kept.r2_key]
        assert len(index.search("a", axis(1), 5)) == 1
        assert index.add("a", image(b"fits"), axis(1))[1] is False
        index.close()


def test_a_full_database_disk_refuses_the_image_and_stays_readable(tmp_path: Path) -> None:
    objects = FileStore(tmp_path / "files")
    with full_disk(tmp_path / "disk"):
        index = ImageIndex(tmp_path / "disk/images.db", objects, "clip")
        added: list[ImageRecord] = []
        adding = (index.add("a", image(i), directions(1, 512, i)[0])[0] for i in range(10_000))
        with pytest.raises(StoreError):
            added.extend(adding)
        assert added
        assert index.page("a").images == added
        assert index.search("a", directions(1, 512, 0)[0], 1)[0][0] == added[0]
        index.close()


# --- search at size ---


def exact(vectors: Vectors, queries: Vectors, limit: int) -> list[list[int]]:
    found: list[list[int]] = np.argsort(-(queries @ vectors.T), axis=1)[:, :limit].tolist()
    return found


def tend(vectors: VectorSet) -> None:
    while vectors.needs_tending:
        vectors.tend(500)


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
    assert recall() > 0.98
    scores = [score for _, score in vectors.search(queries[0], 100)]
    assert len(scores) == 100
    assert scores == sorted(scores, reverse=True)

    vectors.save(tmp_path / "graph")
    loaded = VectorSet(32, capacity=10_000)
    live = set(range(100, 25_000))
    assert loaded.load(tmp_path / "graph", live, vectors.unproven) == live
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
        present = loaded.load(self.folder / "graph", self.live.keys(), self.vectors.unproven)
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


def tended(index: ImageIndex) -> ImageIndex:
    while index.needs_tending:
        index.tend()
    return index


def test_a_small_project_beside_one_past_the_exact_limit_gives_complete_results(memory_folder: Path) -> None:
    objects = Memory()
    path = memory_folder / "images.db"
    count = EXACT_UP_TO + 200
    data = directions(count)
    index = ImageIndex(path, objects, "clip", max_elements=1000)
    records = [index.add("big", image(i), data[i])[0] for i in range(count)]
    small = [index.add("small", image(i), data[i])[0] for i in range(20)]
    for query in directions(5, seed=2):
        assert len(index.search("small", query, 100)) == 20
        index.search("big", query, 1)
    assert {record.id for record, _ in index.search("small", data[0], 100)} == {record.id for record in small}
    tended(index)
    numbers = {record.id: i for i, record in enumerate(records)}
    queries = directions(40, seed=3)
    found = [{numbers[record.id] for record, _ in index.search("big", query, 10)} for query in queries]
    assert np.mean([len(f & set(t)) / 10 for f, t in zip(found, exact(data, queries, 10), strict=True)]) > 0.98
    graphs = list((memory_folder / "images.db.graphs").iterdir())
    assert len(graphs) == 1, "saved without being asked"
    saved = graphs[0].read_bytes()

    for record in records[:50]:
        index.delete("big", record.id)
    late = [index.add("big", image(b"late%d" % i), -data[i])[0] for i in range(50)]
    _die(index)  # nothing of this reached the saved graph
    index = ImageIndex(path, objects, "clip", max_elements=1000)
    assert graphs[0].read_bytes() == saved
    for i in range(50):
        assert index.search("big", data[i], 1)[0][0] != records[i]
        assert index.search("big", -data[i], 1)[0][0] == late[i]
    assert index.search("big", data[100], 1)[0][0] == records[100]
    index.close()

    (graph,) = (memory_folder / "images.db.graphs").iterdir()
    graph.write_bytes(graph.read_bytes()[:-1000] + bytes(1000))
    index = ImageIndex(path, objects, "clip", max_elements=1000)
    assert index.search("big", data[100], 1)[0][0] == records[100], "a damaged copy is not used"
    index.delete_project("big")
    assert list((memory_folder / "images.db.graphs").iterdir()) == []
    assert len(index.search("small", data[0], 100)) == 20
    index.close()
