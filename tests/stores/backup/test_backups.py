"""Backups of the image index: of one moment, checked, listed last, and restored whole or not at all."""

from __future__ import annotations

import io
import logging
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from stores.backup import Backups
from stores.errors import RestoreFailed, StoreError, StoreFull, UploadFailed
from stores.objects import FileStore, PublicStore
from tests.stores.backup.databases import LIST, new_database
from tests.stores.disks import files_in, full_disk
from tests.stores.images import axis, image, open_index


def add_row(database: Path) -> None:
    with sqlite3.connect(database) as db:
        db.execute("INSERT INTO parents (content) VALUES ('more')")
    db.close()


def rows_in(database: Path) -> int:
    db = sqlite3.connect(database)
    (count,) = db.execute("SELECT count(*) FROM parents").fetchone()
    db.close()
    return int(count)


def test_what_was_backed_up_comes_back_and_opens_as_the_index_it_was(store: PublicStore, tmp_path: Path) -> None:
    objects = FileStore(tmp_path / "objects")
    (tmp_path / "index").mkdir()
    index = open_index(tmp_path / "index" / "images.db", objects)
    kept = [index.add("a", image(number), axis(number))[0] for number in range(3)]
    made = Backups(store).make(tmp_path / "index" / "images.db")
    index.add("a", image(3), axis(3))
    index.close()
    assert not list((tmp_path / "index").glob("*.copy"))
    assert made.rows["images"] == made.rows["vectors"] == 3
    assert made.key.startswith("image_search.db.versions/2")
    assert store.stat(made.key).size == made.size
    assert Backups(store).versions() == [made]

    assert Backups(store).restore(tmp_path / "new" / "folder" / "images.db") == made
    assert files_in(tmp_path / "new") == ["folder/images.db"]
    restored = open_index(tmp_path / "new" / "folder" / "images.db", objects)
    assert restored.page("a").images == kept
    assert restored.search("a", axis(2), 1)[0][0] == kept[2]
    restored.close()


def test_before_the_first_backup_there_is_nothing_to_restore(store: PublicStore, tmp_path: Path) -> None:
    assert Backups(store).versions() == []
    assert Backups(store).restore(tmp_path / "index" / "images.db") is None
    with pytest.raises(RestoreFailed, match="there is no backup of-then; there are: none"):
        Backups(store).restore(tmp_path / "index" / "images.db", "of-then")
    assert not (tmp_path / "index").exists()


def test_the_newest_are_kept_and_a_file_of_older_servers_is_left_alone(
    store: PublicStore, database: Path, tmp_path: Path
) -> None:
    store.put("image_search.db", b"of another schema")
    backups = Backups(store, keep=2)
    made = []
    for _ in range(4):
        add_row(database)
        made.append(backups.make(database))
    assert backups.versions() == made[:1:-1]
    assert sorted(store.keys()) == sorted(["image_search.db", LIST, made[2].key, made[3].key])
    assert store.get("image_search.db") == b"of another schema"
    assert backups.restore(tmp_path / "newest.db") == made[3]
    assert backups.restore(tmp_path / "older.db", made[2].key) == made[2]
    assert (rows_in(tmp_path / "newest.db"), rows_in(tmp_path / "older.db")) == (7, 6)
    with pytest.raises(RestoreFailed, match=f"there is no backup {made[0].key}; there are: {made[3].key}, "):
        backups.restore(tmp_path / "oldest.db", made[0].key)


def test_backups_that_are_asked_for_push_out_only_one_another(store: PublicStore, database: Path) -> None:
    backups = Backups(store, keep=2)
    by_itself = [backups.make(database) for _ in range(2)]
    asked = [backups.make(database, asked=True) for _ in range(4)]
    assert backups.versions() == [asked[3], asked[2], by_itself[1], by_itself[0]]
    latest = backups.make(database)
    assert backups.versions() == [latest, asked[3], asked[2], by_itself[1]]
    assert sorted(store.keys()) == sorted([LIST, *(version.key for version in backups.versions())])


WRITE_FOR_EVER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
number = 1_000_000
while True:
    number += 1
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO parents VALUES (?, randomblob(100))", (number,))
    db.execute("UPDATE parents SET content = ? WHERE number = 0", (number,))
    db.execute("INSERT INTO children VALUES (?)", (number,))
    db.execute("COMMIT")
    print(number, flush=True)
"""


def test_a_backup_is_of_one_moment_and_holds_up_nobody_who_writes(files: FileStore, tmp_path: Path) -> None:
    database = new_database(tmp_path / "index" / "images.db", rows=1000, row_bytes=12_000)  # three rounds of pages
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        writer.stdout.readline()
        made = Backups(files).make(database)
        writer.kill()
        last = [int(line) for line in writer.stdout][-1]
    Backups(files).restore(tmp_path / "restored.db")
    db = sqlite3.connect(tmp_path / "restored.db")
    (newest,) = db.execute("SELECT max(number) FROM parents").fetchone()
    assert db.execute("SELECT content FROM parents WHERE number = 0").fetchone() == (newest,)
    assert db.execute("SELECT max(parent), count(*) FROM children").fetchone() == (newest, made.rows["parents"])
    db.close()
    assert 1_000_000 < newest < last - 10


class Mishap(FileStore):
    """A store that fails at one of the steps of a backup."""

    at: str = ""

    def put_file(self, key: str, file: BinaryIO) -> None:
        if self.at == "upload":
            super().put_file(key, io.BytesIO(file.read(1000)))
            raise UploadFailed("the object store did not take the object")
        super().put_file(key, file)

    def open(self, key: str) -> BinaryIO:
        if self.at == "reading back" and key != LIST:
            return io.BytesIO(super().path(key).read_bytes()[:-1] + b"?")
        return super().open(key)

    def put(self, key: str, content: bytes) -> None:
        if self.at == "acknowledging the list":
            super().put(key, content)
        if self.at.endswith("list"):
            raise UploadFailed("the object store did not take the object")
        super().put(key, content)

    def delete(self, key: str) -> None:
        if self.at == "deleting":
            raise UploadFailed("the object store did not delete the object")
        super().delete(key)


@pytest.mark.parametrize("step", ["upload", "reading back", "writing the list"])
def test_a_backup_that_fails_leaves_the_ones_before_and_nothing_of_itself(
    database: Path, tmp_path: Path, step: str
) -> None:
    store = Mishap(tmp_path / "files")
    first = Backups(store).make(database)
    store.at = step
    with pytest.raises(StoreError, match=r"the object store (does not give back|did not take)"):
        Backups(store).make(database)
    store.at = ""
    assert sorted(store.keys()) == [LIST, first.key]
    assert Backups(store).restore(tmp_path / "restored.db") == first
    assert not list(database.parent.glob("*.copy"))


def test_a_version_that_was_listed_after_all_is_not_deleted(database: Path, tmp_path: Path) -> None:
    store = Mishap(tmp_path / "files")
    store.at = "acknowledging the list"
    with pytest.raises(UploadFailed):
        Backups(store).make(database)
    store.at = ""
    assert Backups(store).restore(tmp_path / "restored.db") is not None


def test_an_old_version_that_cannot_be_deleted_is_only_a_warning(
    database: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Mishap(tmp_path / "files")
    Backups(store, keep=1).make(database)
    store.at = "deleting"
    with caplog.at_level(logging.WARNING, "stores.backup"):
        made = Backups(store, keep=1).make(database)
    assert Backups(store).versions() == [made]
    assert "were not deleted: the object store did not delete the object" in caplog.text


MAKE_AND_STOP = """
import sys, time
from pathlib import Path
from stores.backup import Backups
from stores.objects import FileStore

class Stopping(FileStore):
    def put_file(self, key, file):
        if sys.argv[3] == "after":
            super().put_file(key, file)
        print("here", flush=True)
        time.sleep(60)

Backups(Stopping(Path(sys.argv[1]))).make(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_in_a_backup_costs_nothing_and_the_next_one_tidies(
    files: FileStore, database: Path, tmp_path: Path, moment: str
) -> None:
    backups = Backups(files)
    first = backups.make(database)
    command = [sys.executable, "-c", MAKE_AND_STOP, str(tmp_path / "files"), str(database), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "here\n"
        with pytest.raises(StoreError, match="another process makes or restores a backup"):
            backups.make(database)
        process.kill()
    assert (database.parent / "images.db.copy" / "images.db").exists()
    assert len(list(files.keys("image_search.db.versions/"))) == (2 if moment == "after" else 1)
    assert backups.versions() == [first]
    assert backups.restore(tmp_path / "restored.db") == first
    second = backups.make(database)
    assert sorted(files.keys()) == sorted([LIST, first.key, second.key])
    assert not (database.parent / "images.db.copy").exists()


def test_a_full_disk_stops_a_backup_and_leaves_the_database_as_it_was(files: FileStore, tmp_path: Path) -> None:
    # larger than half the small disk, and than the largest file where there is only a limit on those
    large = new_database(tmp_path / "index" / "images.db", rows=48, row_bytes=3000)
    assert large.stat().st_size > 200_000
    with full_disk(tmp_path / "disk"):
        database = Path(shutil.move(large, tmp_path / "disk" / "images.db"))
        content = database.read_bytes()
        with pytest.raises(StoreFull if (tmp_path / "disk").is_mount() else StoreError):
            Backups(files).make(database)
        assert database.read_bytes() == content
        assert not list(database.parent.glob("*.copy"))
        assert list(files.keys()) == []
    with full_disk(tmp_path / "other"):
        Backups(files).make(new_database(tmp_path / "index" / "images.db", rows=100, row_bytes=3000))
        with pytest.raises(RestoreFailed, match="the disk of the image index is full"):
            Backups(files).restore(tmp_path / "other" / "images.db")
        assert files_in(tmp_path / "other") == []
