"""What only the index in a SQLite file does: it is of one process, migrates, and meets full disks."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stores.errors import StoreFull, StoreUnusable
from stores.index.records import Embedder, ImageRecord
from stores.objects import FileStore
from stores.sqlite import _MIGRATIONS
from tests.stores.disks import full_disk
from tests.stores.images import axis, directions, image, open_index


@pytest.fixture
def objects(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def test_a_second_process_is_kept_out_and_let_in_when_the_first_is_gone(tmp_path: Path, objects: FileStore) -> None:
    first = open_index(tmp_path / "images.db", objects)
    with pytest.raises(StoreUnusable, match="another process"):
        open_index(tmp_path / "images.db", objects, wait_for_lock=0.2)
    first.close()
    first.close()
    open_index(tmp_path / "images.db", objects, wait_for_lock=0).close()


def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path, objects: FileStore) -> None:
    open_index(tmp_path / "images.db", objects).close()
    with sqlite3.connect(tmp_path / "images.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = (tmp_path / "images.db").read_bytes()
    with pytest.raises(StoreUnusable, match=r"schema 99.*newer version"):
        open_index(tmp_path / "images.db", objects)
    assert (tmp_path / "images.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, objects: FileStore) -> None:
    (tmp_path / "images.db").write_bytes(b"something else" * 100)
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        open_index(tmp_path / "images.db", objects)
    assert (tmp_path / "images.db").read_bytes() == b"something else" * 100


def test_its_folder_is_made_and_a_place_where_that_cannot_be_is_named(tmp_path: Path, objects: FileStore) -> None:
    open_index(tmp_path / "new" / "folder" / "images.db", objects).close()
    (tmp_path / "a file").touch()
    with pytest.raises(StoreUnusable, match=r"a file/images\.db cannot be made or written: .*IMAGE_SEARCH_DB_PATH"):
        open_index(tmp_path / "a file" / "images.db", objects)


def test_a_full_database_disk_refuses_the_image_and_stays_readable(tmp_path: Path) -> None:
    objects = FileStore(tmp_path / "files")
    with full_disk(tmp_path / "disk", 2048):
        index = open_index(tmp_path / "disk/images.db", objects)
        added: list[ImageRecord] = []
        adding = (index.add("a", image(i), directions(1, 512, i)[0])[0] for i in range(10_000))
        with pytest.raises(StoreFull):
            added.extend(adding)
        assert added
        assert index.page("a").images == added
        assert index.search("a", directions(1, 512, 0)[0], 1)[0][0] == added[0]
        index.close()


def test_a_file_of_the_first_schema_is_taken_over_with_all_it_has(tmp_path: Path, objects: FileStore) -> None:
    path = tmp_path / "images.db"
    with sqlite3.connect(path) as db:
        db.executescript(_MIGRATIONS[0] + "PRAGMA user_version = 1")
        db.execute("INSERT INTO projects VALUES (3, 'a', '2026-01-01T00:00:00.000Z')")
        for label in range(1, 8):
            name = f"00000000-0000-4000-8000-00000000000{label}"
            key = f"a/images/{name}.png"
            objects.put(key, b"%d" % label)
            row = (label, name, 3, f"{label}", key, f"{label}.png", "image/png", 1, 4, 3, "2026-01-01T00:00:00.000Z")
            db.execute("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'ready')", row)
            embedder = "another" if label == 7 else "clip"
            db.execute("INSERT INTO vectors VALUES (?, ?, 16, ?)", (label, embedder, axis(label).tobytes()))
        db.execute("DELETE FROM images WHERE label = 2")
        db.execute("DELETE FROM vectors WHERE label = 2")
    db.close()

    index = open_index(path, objects)
    assert index.serving == Embedder("clip")
    records = index.page("a").images
    assert [record.original_filename for record in records] == ["1.png", "3.png", "4.png", "5.png", "6.png", "7.png"]
    assert records[0].dominant_color is None
    assert index.page("a", 2, index.page("a", 2).next).images == records[2:4]
    assert index.search("a", axis(5), 1)[0][0] == records[3]
    assert index.reembedding.progress() == (5, 6, 0)
    assert list(index.reembedding.lacking(5).values()) == [records[5].r2_key]
    added, _ = index.add("a", image(b"new"), axis(9))
    assert index.page("a").images == [*records, added]
    index.deleting.delete("a", records[0].id)
    index.close()
    index = open_index(path, objects)
    assert index.page("a").images == [*records[1:], added]
    assert added.dominant_color == "#0a0b0c"
    index.close()
