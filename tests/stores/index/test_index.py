"""The image index over either database: whole records or none, through crashes, full disks and restarts."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stores.errors import EmbedderChanged, InvalidKey, NotFound, ProjectNotFound, StoreError, StoreFull
from stores.index.records import Embedder, ImageFilter, NewRecord, Reservation, thumbnail_key
from stores.objects import FileStore
from stores.vectors import EXACT_UP_TO
from tests.stores.images import DIMENSION, Memory, StoredIndex, axis, directions, exact, image, open_index
from tests.stores.test_objects import full_disk


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an index may be made."""
    if request.param == "sqlite":
        return tmp_path / "images.db"
    address: str = request.getfixturevalue("database_url")
    return address


@pytest.fixture
def objects(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def index(where: Path | str, objects: FileStore) -> Iterator[StoredIndex]:
    opened = open_index(where, objects, key_prefix="AI/SEARCH/")
    yield opened
    opened.close()


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder where a write costs nothing, where the system has one: for tests of many records."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        yield Path(name)


def keys_of(*records: object) -> list[str]:
    """The keys of all objects of some records, sorted."""
    return sorted(key for record in records for key in (record.r2_key, thumbnail_key(record.r2_key)))  # type: ignore[attr-defined]


# --- records ---


def test_an_added_image_is_got_listed_and_found(index: StoredIndex, objects: FileStore) -> None:
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


def test_the_same_bytes_are_one_record_in_a_project_and_two_in_two(index: StoredIndex) -> None:
    first, _ = index.add("a", image(b"x"), axis(0))
    again, duplicate = index.add("a", dataclasses.replace(image(b"x"), original_filename="other.png"), axis(1))
    assert (again, duplicate) == (first, True)
    other, duplicate = index.add("b", image(b"x"), axis(0))
    assert not duplicate
    assert other.id != first.id
    assert len(index.search("a", axis(0), 5)) == 1


def test_bytes_that_were_deleted_can_be_added_again(index: StoredIndex, objects: FileStore) -> None:
    first, _ = index.add("a", image(b"x"), axis(0))
    assert sorted(index.deleting.delete("a", first.id)) == keys_of(first)
    assert index.search("a", axis(0), 5) == []
    second, duplicate = index.add("a", image(b"x"), axis(0))
    assert not duplicate
    assert second.id != first.id
    assert [record.id for record, _ in index.search("a", axis(0), 5)] == [second.id]
    index.sweep()
    assert list(objects.keys()) == keys_of(second)


def test_pages_neither_repeat_nor_miss_while_images_come_and_go(index: StoredIndex) -> None:
    records = [index.add("a", image(i), axis(i % DIMENSION))[0] for i in range(10)]
    first = index.page("a", 4)
    assert first.images == records[:4]
    assert first.next is not None
    index.deleting.delete("a", records[3].id)
    index.deleting.delete("a", records[5].id)
    late, _ = index.add("a", image(b"late"), axis(0))
    second = index.page("a", 4, first.next)
    assert second.images == [records[4], *records[6:9]]
    third = index.page("a", 4, second.next)
    assert third.images == [records[9], late]
    assert third.next is None
    assert index.page("a", 4, records[8].id).images == third.images
    with pytest.raises(NotFound):
        index.page("a", 4, records[3].id)


def test_a_page_that_ends_with_the_last_image_has_no_next(index: StoredIndex) -> None:
    for i in range(4):
        index.add("a", image(i), axis(i))
    assert index.page("a", 4).next is None
    assert index.page("default").images == []


def test_unknown_projects_and_images_are_told_apart(index: StoredIndex) -> None:
    record, _ = index.add("a", image(b"x"), axis(0))
    index.add("b", image(b"y"), axis(0))
    for missing in (lambda: index.get("b", record.id), lambda: index.deleting.delete("b", record.id)):
        with pytest.raises(NotFound) as caught:
            missing()
        assert not isinstance(caught.value, ProjectNotFound)
    for unknown in (
        lambda: index.get("c", record.id),
        lambda: index.page("c"),
        lambda: index.search("c", axis(0), 1),
        lambda: index.deleting.delete("c", record.id),
        lambda: index.deleting.delete_project("c"),
    ):
        with pytest.raises(ProjectNotFound):
            unknown()
    assert index.search("default", axis(0), 5) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\n", "x" * 129, "ü"])
def test_a_project_name_that_could_not_be_a_folder_is_refused(index: StoredIndex, name: str) -> None:
    with pytest.raises(InvalidKey):
        index.add(name, image(b"x"), axis(0))


def test_projects_are_counted_and_deleting_one_takes_its_objects_only(index: StoredIndex, objects: FileStore) -> None:
    kept, _ = index.add("keep", image(b"kept"), axis(0))
    for i in range(5):
        index.add("drop", image(i), axis(i))
        index.add("default", image(i), axis(i))
    assert [(p.project_id, p.image_count) for p in index.projects()] == [("default", 5), ("drop", 5), ("keep", 1)]
    index.deleting.delete_project("drop")
    index.deleting.delete_project("default")
    index.sweep()
    assert [(p.project_id, p.image_count) for p in index.projects()] == [("default", 0), ("keep", 1)]
    assert list(objects.keys()) == keys_of(kept)
    with pytest.raises(ProjectNotFound):
        index.page("drop")


def test_min_score_and_limit_bound_the_results(index: StoredIndex) -> None:
    for i in range(4):
        index.add("a", image(i), np.array([1, i, *[0] * (DIMENSION - 2)], np.float32))
    scores = [score for _, score in index.search("a", axis(0), 10)]
    assert scores == pytest.approx([1, 0.7071, 0.4472, 0.3162], abs=1e-4)
    assert [score for _, score in index.search("a", axis(0), 10, 0.4)] == scores[:3]
    assert [score for _, score in index.search("a", axis(0), 2, 0.4)] == scores[:2]
    assert index.search("a", -axis(0), 10, 0.0) == []


@pytest.mark.parametrize("vector", [np.zeros(4), np.full(4, np.nan), np.full(4, np.inf), np.ones((2, 2))])
def test_what_is_not_a_direction_is_not_stored(index: StoredIndex, objects: FileStore, vector: np.ndarray) -> None:
    with pytest.raises(StoreError):
        index.add("a", image(b"x"), vector.astype(np.float32))
    assert list(objects.keys()) == []


def test_only_wanted_images_are_found_and_all_of_them(index: StoredIndex) -> None:
    for i in range(30):
        content_type = "image/png" if i % 3 else "image/webp"
        index.add("a", image(i, content_type=content_type), np.array([1, i, *[0] * (DIMENSION - 2)], np.float32))
    records = index.page("a").images
    webp = [record for record in records if record.content_type == "image/webp"]
    assert [record for record, _ in index.search("a", axis(0), 5, only=ImageFilter(("image/webp",)))] == webp[:5]
    both = ImageFilter(("image/webp", "image/png"))
    assert [record for record, _ in index.search("a", axis(0), 100, only=both)] == records
    assert index.search("a", axis(0), 5, only=ImageFilter(("image/gif",))) == []
    assert len(index.search("a", axis(0), 100, 0.5, only=ImageFilter(("image/webp",)))) == 1
    since, until = records[10].created_at, records[20].created_at
    between = {r.id for r in records if since <= r.created_at < until}
    found = index.search("a", axis(0), 100, only=ImageFilter(since=since, until=until))
    assert {record.id for record, _ in found} == between


def test_what_is_wanted_is_found_however_far_away_it_is(
    where: Path | str, objects: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stores.index.index.EXACT_SEARCH_LIMIT", 20)
    index = open_index(where, objects)
    for i in range(120):  # the farther from the first axis, the more of them are wanted
        content_type = "image/webp" if i >= 60 else "image/png"
        index.add("a", image(i, content_type=content_type), np.array([1, i, *[0] * (DIMENSION - 2)], np.float32))
    records = index.page("a").images
    found = index.search("a", axis(0), 10, only=ImageFilter(("image/webp",)))
    assert [record for record, _ in found] == records[60:70]
    index.close()


def test_a_picture_is_shown_when_it_is_complete_and_in_that_order(index: StoredIndex, objects: FileStore) -> None:
    slow, quick = index.adding.reserve([NewRecord("a", image(i), {"clip": axis(i)}) for i in range(2)])
    assert isinstance(slow, Reservation)
    assert isinstance(quick, Reservation)
    assert index.page("a").images == []
    assert index.search("a", axis(0), 5) == []
    assert index.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})]) == [None], "somebody is adding it"
    for each in (slow, quick):
        for key, content in each.objects.items():
            objects.put(key, content)
    (second,) = index.adding.complete([quick])
    first_page = index.page("a")
    assert first_page.images == [second]
    (first,) = index.adding.complete([slow])
    assert index.page("a", after=second.id).images == [first], "what becomes visible later comes later"
    assert index.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})]) == [first]
    assert {record.id for record, _ in index.search("a", axis(0), 5)} == {first.id, second.id}


def test_what_is_withdrawn_leaves_nothing(index: StoredIndex, objects: FileStore) -> None:
    (reserved,) = index.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})])
    assert isinstance(reserved, Reservation)
    for key, content in reserved.objects.items():
        objects.put(key, content)
    index.adding.withdraw(reserved)
    index.sweep()
    assert list(objects.keys()) == []
    assert index.page("a").images == []
    assert index.add("a", image(0), axis(0))[1] is False


def test_a_project_deleted_while_a_picture_is_added_takes_the_picture_along(
    index: StoredIndex, objects: FileStore
) -> None:
    (reserved,) = index.adding.reserve([NewRecord("a", image(0), {"clip": axis(0)})])
    assert isinstance(reserved, Reservation)
    index.deleting.delete_project("a")
    index.sweep()
    for key, content in reserved.objects.items():
        objects.put(key, content)
    with pytest.raises(ProjectNotFound):
        index.adding.complete([reserved])
    index.adding.withdraw(reserved)
    index.sweep()
    assert list(objects.keys()) == []


def test_a_deleted_project_is_gone_at_once_and_its_rows_and_objects_go_in_slices(
    where: Path | str, objects: FileStore
) -> None:
    index = open_index(where, objects)
    made = index.adding.reserve([NewRecord("a", image(i), {"clip": axis(i % DIMENSION)}) for i in range(700)])
    reservations = [each for each in made if isinstance(each, Reservation)]
    for each in reservations:
        for key, content in each.objects.items():
            objects.put(key, content)
    index.adding.complete(reservations)
    (abandoned,) = index.adding.reserve([NewRecord("a", image(b"abandoned"), {"clip": axis(1)})])
    number = index._records.project_number("a")
    index.deleting.delete_project("a")
    assert [p.project_id for p in index.projects()] == ["default"]
    assert index.find("a", image(0).sha256) is None
    for name in ("a", f"/{number}"):
        with pytest.raises(ProjectNotFound):
            index.page(name)
    assert index.find(f"/{number}", image(0).sha256) is None
    again, is_known = index.add("a", image(0), axis(1))
    assert not is_known
    slices = 0
    while index.deleting.clear():
        slices += 1
    assert slices == 7, "and it leaves what somebody is adding"
    assert isinstance(abandoned, Reservation)
    for key, content in abandoned.objects.items():
        objects.put(key, content)
    index.close()

    index = open_index(where, objects)
    index.sweep()
    assert not index.deleting.clear()
    assert index.deleting.tombstoned_keys() == []
    assert index.page("a").images == [again]
    assert index.search("a", axis(0), 5)[0][0] == again
    assert list(objects.keys()) == keys_of(again)
    index.close()


def test_the_vectors_of_a_replaced_embedder_go_in_slices_and_it_may_come_back(
    where: Path | str, objects: FileStore
) -> None:
    index = open_index(where, objects, "clip")
    made = index.adding.reserve([NewRecord("a", image(i), {"clip": axis(i % DIMENSION)}) for i in range(1200)])
    index.adding.complete([each for each in made if isinstance(each, Reservation)])
    index.close()
    for name, dimension in (("siglip", 8), ("clip", 4)):
        index = open_index(where, objects, name)
        index.reembedding.fill(dict.fromkeys(index.reembedding.lacking(2000), np.eye(dimension, dtype=np.float32)[0]))
        assert index.reembedding.progress() == (1200, 1200, 0)
        while not index.reembedding.take_over():
            continue
        assert index.deleting.clear()  # one slice, and then it is closed
        assert len(index.search("a", np.ones(dimension, np.float32), 3)) == 3
        index.close()
    index = open_index(where, objects, "clip")
    index.sweep()
    assert [index._db.one(f"SELECT count(*) AS n FROM {table}")["n"] for table in ("vectors", "embedders")] == [1200, 1]  # type: ignore[index]
    index.close()


def test_objects_that_no_record_has_are_told_apart(index: StoredIndex, objects: FileStore) -> None:
    record, _ = index.add("a", image(0), axis(0))
    key = record.r2_key.replace(record.id, "00000000-0000-4000-8000-000000000000")
    objects.put(key, b"an orphan")
    objects.put("AI/SEARCH/a/images/notes.txt", b"of somebody")
    assert list(index.deleting.unknown(list(objects.keys()))) == [key]


# --- another embedder ---


def test_the_old_embedder_serves_until_the_new_one_knows_all(where: Path | str, objects: FileStore) -> None:
    old = open_index(where, objects, "clip")
    records = [old.add("a", image(i), axis(i))[0] for i in range(5)]
    assert not old.reembedding.lacking(1)
    old.close()

    index = open_index(where, objects, "siglip")
    assert (index.serving, index.reembedding.is_pending, index.reembedding.progress()) == (
        Embedder("clip"),
        True,
        (0, 5, 0),
    )
    assert index.search("a", axis(3), 1)[0][0] == records[3]
    assert index.vector("a", records[3].id).tolist() == axis(3).tolist()
    new = np.eye(8, dtype=np.float32)
    lacking = index.reembedding.lacking(3)
    assert list(lacking.values()) == [record.r2_key for record in records[:3]]
    index.reembedding.fill({label: new[i] for i, label in enumerate(lacking)})
    both = {"clip": axis(9), "siglip": new[7]}
    (added,) = index.adding.reserve([NewRecord("a", image(b"new"), both)])
    assert isinstance(added, Reservation)
    (late,) = index.adding.complete([added])
    assert index.search("a", axis(9), 1)[0][0] == late
    index.deleting.delete("a", records[0].id)
    index.close()

    index = open_index(where, objects, "siglip")
    assert (index.serving, index.reembedding.progress()) == (Embedder("clip"), (3, 5, 0))
    rest = index.reembedding.lacking(10)
    assert list(rest.values()) == [record.r2_key for record in records[3:]]
    index.reembedding.fill({label: new[3 + i] for i, label in enumerate(rest)})
    assert index.search("a", axis(3), 1)[0][0] == records[3], "the old one serves still"
    while not index.reembedding.take_over():
        continue
    assert (index.serving, index.reembedding.is_pending) == (Embedder("siglip"), False)
    assert [index.search("a", new[i], 1)[0][0] for i in (1, 4, 7)] == [records[1], records[4], late]
    with pytest.raises(EmbedderChanged, match="8 before"):
        index.search("a", axis(0), 1)
    index.close()
    index = open_index(where, objects, "siglip")
    assert index.search("a", new[4], 1)[0][0] == records[4]
    assert not index.reembedding.lacking(1)
    index.close()


def test_the_old_embedder_may_come_back_half_way(where: Path | str, objects: FileStore) -> None:
    index = open_index(where, objects, "clip")
    first, _ = index.add("a", image(0), axis(0))
    index.close()
    index = open_index(where, objects, "siglip")
    (added,) = index.adding.reserve(
        [NewRecord("a", image(1), {"siglip": np.ones(4, np.float32)})]
    )  # the old one could not be loaded
    assert isinstance(added, Reservation)
    (second,) = index.adding.complete([added])
    assert [record for record, _ in index.search("a", axis(0), 5)] == [first]
    index.close()
    index = open_index(where, objects, "clip")
    assert (index.serving, index.reembedding.progress()) == (Embedder("clip"), (1, 2, 0))
    assert len(index.reembedding.lacking(5)) == 1
    index.reembedding.fill(dict.fromkeys(index.reembedding.lacking(5), axis(1)))
    assert index.reembedding.take_over()
    assert not index.reembedding.lacking(1)
    assert index.search("a", axis(1), 1)[0][0] == second
    index.close()


def test_an_embedder_whose_vectors_change_their_length_is_refused(index: StoredIndex) -> None:
    index.add("a", image(b"x"), axis(0))
    for refused in (
        lambda: index.add("a", image(b"y"), np.ones(4, np.float32)),
        lambda: index.search("a", np.ones(4, np.float32), 1),
    ):
        with pytest.raises(EmbedderChanged, match="4 numbers now, and gave 16 before"):
            refused()
    assert len(index.page("a").images) == 1


# --- restarts, crashes, full disks ---


ADD_AND_DELETE = """
import sys
from pathlib import Path
import numpy as np
from stores.objects import FileStore
from tests.stores.images import image, open_index
folder, where, begin = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
index = open_index(Path(where) if where.startswith("/") else where, FileStore(folder / "files"))
for i in range(begin, begin + 100_000):
    vector = np.random.default_rng(i).standard_normal(16).astype(np.float32)
    record, _ = index.add("a", image(i), vector)
    print("+", i, record.id, flush=True)
    if i % 3 == 0:
        index.deleting.delete("a", record.id)
        index.sweep()
        print("-", i, record.id, flush=True)
"""


def test_a_kill_in_the_middle_of_adds_loses_nothing_told_and_leaves_nothing_half(
    tmp_path: Path, where: Path | str
) -> None:
    told: dict[str, int] = {}
    deleted: set[str] = set()
    for round_number in range(5):
        begin = round_number * 100_000
        command = [sys.executable, "-c", ADD_AND_DELETE, str(tmp_path), str(where), str(begin)]
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
        index = open_index(where, objects)
        records = {record.id: record for record in index.page("a").images}
        # The one being added or deleted when the kill came may be there or not; everything else is as told.
        assert {name for name in told if name not in deleted} - set(records) <= {list(told)[-1]}
        assert not deleted & set(records)
        assert len(set(records) - set(told)) <= round_number + 1
        assert sorted(objects.keys()) == keys_of(*records.values())
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
        if self.dies == ("after thumbnail" if "/thumbnails/" in key else "after put"):
            raise Died

    def delete(self, key: str) -> None:
        if self.dies == "before delete":
            raise Died
        super().delete(key)
        if self.dies == "after delete":
            raise Died


def _die(index: StoredIndex) -> None:
    index._db.close()


@pytest.mark.parametrize(
    ("moment", "is_there"), [("before put", False), ("after thumbnail", False), ("after put", True)]
)
def test_an_add_that_a_crash_interrupted_is_finished_or_undone(
    tmp_path: Path, where: Path | str, moment: str, is_there: bool
) -> None:
    objects = Mortal(tmp_path / "files")
    index = open_index(where, objects)
    index.add("a", image(b"first"), axis(1))
    objects.dies = moment
    with pytest.raises(Died):
        index.add("a", image(b"x"), axis(0))
    assert len(index.page("a").images) == 1
    _die(index)
    objects.dies = ""
    index = open_index(where, objects)
    records = index.page("a").images
    assert len(records) == 1 + is_there
    assert len(index.search("a", axis(0), 5)) == 1 + is_there
    assert sorted(objects.keys()) == keys_of(*records)
    assert index.add("a", image(b"x"), axis(0))[1] is is_there
    index.close()


@pytest.mark.parametrize("moment", ["before delete", "after delete"])
def test_a_delete_that_a_crash_interrupted_is_finished(tmp_path: Path, where: Path | str, moment: str) -> None:
    objects = Mortal(tmp_path / "files")
    index = open_index(where, objects)
    record, _ = index.add("a", image(b"x"), axis(0))
    objects.dies = moment
    index.deleting.delete("a", record.id)
    with pytest.raises(Died):
        index.sweep()
    assert index.page("a").images == []
    _die(index)
    objects.dies = ""
    index = open_index(where, objects)
    assert list(objects.keys()) == []
    assert index.search("a", axis(0), 5) == []
    index.close()


def test_a_full_object_disk_refuses_the_image_and_keeps_the_rest(tmp_path: Path, where: Path | str) -> None:
    with full_disk(tmp_path / "disk"):
        objects = FileStore(tmp_path / "disk/files")
        index = open_index(where, objects)
        kept, _ = index.add("a", image(b"small"), axis(0))
        for _ in range(2):
            with pytest.raises(StoreFull):
                index.add("a", image(bytes(300_000)), axis(1))
        assert index.page("a").images == [kept]
        assert list(objects.keys()) == keys_of(kept)
        assert len(index.search("a", axis(1), 5)) == 1
        assert index.add("a", image(b"fits"), axis(1))[1] is False
        index.close()


def tended(index: StoredIndex) -> StoredIndex:
    while index.needs_tending:
        index.tend()
    return index


def test_a_small_project_beside_one_past_the_exact_limit_gives_complete_results(memory_folder: Path) -> None:
    objects = Memory()
    path = memory_folder / "images.db"
    count = EXACT_UP_TO + 200
    data = directions(count)
    index = open_index(path, objects, max_elements=1000)
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
    while not (graphs := list((memory_folder / "images.db.graphs").glob("*.hnsw"))):
        index.tend()  # until the file that was written without being asked is safe
    assert len(graphs) == 1
    saved = graphs[0].read_bytes()

    for record in records[:50]:
        index.deleting.delete("big", record.id)
    late = [index.add("big", image(b"late%d" % i), -data[i])[0] for i in range(50)]
    _die(index)  # nothing of this reached the saved graph
    index = open_index(path, objects, max_elements=1000)
    assert graphs[0].read_bytes() == saved
    for i in range(50):
        assert index.search("big", data[i], 1)[0][0] != records[i]
        assert index.search("big", -data[i], 1)[0][0] == late[i]
    assert index.search("big", data[100], 1)[0][0] == records[100]
    index.close()

    (graph,) = (memory_folder / "images.db.graphs").iterdir()
    graph.write_bytes(graph.read_bytes()[:-1000] + bytes(1000))
    index = open_index(path, objects, max_elements=1000)
    assert index.search("big", data[100], 1)[0][0] == records[100], "a damaged copy is not used"
    index.deleting.delete_project("big")
    assert list((memory_folder / "images.db.graphs").iterdir()) == []
    assert len(index.search("small", data[0], 100)) == 20
    index.close()
