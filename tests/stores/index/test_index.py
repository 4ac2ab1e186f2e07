"""The image index over either database: whole records or none, through crashes, full disks and restarts."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from stores.errors import InvalidKey, NotFound, ProjectNotFound, StoreError
from stores.index.records import ImageFilter, NewRecord, Reservation
from stores.objects import FileStore
from stores.vectors import EXACT_UP_TO
from tests.stores.images import DIMENSION, Memory, StoredIndex, axis, directions, exact, image, open_index
from tests.stores.index.indexes import _die, keys_of


@pytest.fixture
def memory_folder() -> Iterator[Path]:
    """A folder where a write costs nothing, where the system has one: for tests of many records."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        yield Path(name)


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


def test_objects_that_no_record_has_are_told_apart(index: StoredIndex, objects: FileStore) -> None:
    record, _ = index.add("a", image(0), axis(0))
    key = record.r2_key.replace(record.id, "00000000-0000-4000-8000-000000000000")
    objects.put(key, b"an orphan")
    objects.put("AI/SEARCH/a/images/notes.txt", b"of somebody")
    assert list(index.deleting.unknown(list(objects.keys()))) == [key]


def tended(index: StoredIndex) -> StoredIndex:
    while index.needs_tending:
        index.tend()
    return index


@pytest.mark.nightly
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
