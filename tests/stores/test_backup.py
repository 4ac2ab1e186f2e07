"""Backups of the image index: of one moment, checked, listed last, and restored whole or not at all."""

from __future__ import annotations

import io
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from cli.environment import free_ports
from stores.backup import Backup, Backups
from stores.errors import RestoreFailed, StoreError, StoreFull, UploadFailed
from stores.objects import FileStore, PublicStore
from tests.buckets import Bucket
from tests.stores.images import axis, image, open_index
from tests.stores.test_objects import files_in, full_disk

LIST = "image_search.db.json"


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> PublicStore:
    """Either store: what is tested with it holds for both."""
    if request.param == "folder":
        return FileStore(tmp_path / "files")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.store()


@pytest.fixture
def files(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A small one, in which one table refers to another."""
    return new_database(tmp_path / "index" / "images.db", rows=3)


def new_database(path: Path, rows: int, row_bytes: int = 10) -> Path:
    path.parent.mkdir(exist_ok=True)
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA user_version = 7")
    db.execute("CREATE TABLE parents (number INTEGER PRIMARY KEY, content BLOB)")
    db.execute("CREATE TABLE children (parent INTEGER REFERENCES parents (number))")
    db.executemany("INSERT INTO parents VALUES (?, randomblob(?))", [(number, row_bytes) for number in range(rows)])
    db.executemany("INSERT INTO children VALUES (?)", [(number,) for number in range(rows)])
    db.commit()
    db.close()
    return path


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


def test_versions_without_a_list_are_not_taken_for_no_backup(files: FileStore, database: Path, tmp_path: Path) -> None:
    Backups(files).make(database)
    listed = files.get(LIST)
    files.delete(LIST)
    target = tmp_path / "restored.db"
    with pytest.raises(RestoreFailed, match=r"their list image_search\.db\.json is gone"):
        Backups(files).restore(target)
    assert not target.exists()
    files.put(LIST, listed)
    assert Backups(files).restore(target) is not None


def test_when_the_list_is_lost_the_versions_are_not(files: FileStore, database: Path) -> None:
    backups = Backups(files, keep=1)
    older = "image_search.db.versions/20200101T000000Z-0a1b2c3d.db"
    files.put(older, files.get(backups.make(database).key))
    files.delete(LIST)
    backups.make(database)
    made = backups.make(database)
    assert backups.versions() == [made]
    assert files.exists(older)


def damage(store: FileStore, key: str, change: Callable[[bytes], bytes]) -> None:
    store.put(key, change(store.get(key)))


def relist(store: FileStore, **facts: Any) -> None:
    """Change what the list says of the newest."""
    listed = json.loads(store.get(LIST))
    listed[0] |= facts
    store.put(LIST, json.dumps(listed).encode())


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda store, key: store.delete(key), "there is no object of that key"),
        (lambda store, key: damage(store, key, lambda content: content[:-1]), "it has 12287 bytes instead of 12288"),
        (lambda store, key: damage(store, key, lambda content: content[:-1] + b"?"), "its checksum is not the one"),
        (lambda store, key: relist(store, sha256="0" * 64), "its checksum is not the one"),
        (lambda store, key: relist(store, rows={"parents": 3, "children": 2}), "its schema or its numbers of rows"),
        (lambda store, key: relist(store, schema=6), "its schema or its numbers of rows"),
    ],
    ids=["missing", "truncated", "changed", "wrong checksum", "wrong counts", "wrong schema"],
)
def test_a_version_that_is_not_what_the_list_says_is_refused_and_an_older_one_restored(
    files: FileStore, database: Path, tmp_path: Path, harm: Callable[[FileStore, str], None], told: str
) -> None:
    backups = Backups(files)
    older, newer = backups.make(database), backups.make(database)
    harm(files, newer.key)
    with pytest.raises(RestoreFailed) as caught:
        backups.restore(tmp_path / "new" / "images.db")
    assert str(caught.value).startswith(f"the backup {newer.key} cannot be restored: {told}")
    assert "`atelier search restore VERSION`" in str(caught.value)
    assert files_in(tmp_path / "new") == []
    assert backups.restore(tmp_path / "new" / "images.db", older.key) == older


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b'{"versions": []}',
        b'[{"key": "image_search.db.versions/20261125T070000Z-0a1b2c3d.db"}]',
        json.dumps([vars(Backup("a/images/x.png", "0", 1, 1, {}, ""))]).encode(),
    ],
    ids=["empty", "no text", "another form", "incomplete", "names a picture"],
)
def test_a_damaged_list_stops_everything_until_somebody_has_looked(
    files: FileStore, database: Path, tmp_path: Path, content: bytes
) -> None:
    made = Backups(files).make(database)
    files.put("a/images/x.png", b"picture")
    files.put(LIST, content)
    with pytest.raises(RestoreFailed, match=r"image_search\.db\.json is damaged; mend it, or move it away"):
        Backups(files).restore(tmp_path / "new" / "images.db")
    with pytest.raises(StoreError, match="is damaged"):
        Backups(files, keep=1).make(database)
    assert sorted(files.keys()) == ["a/images/x.png", LIST, made.key]
    assert files.get(LIST) == content
    assert not (tmp_path / "new").exists()


def test_a_store_that_is_away_is_not_taken_for_one_without_backups(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(RestoreFailed, match=r"from image_search\.db\.json: the object store did not give the object"):
        Backups(Bucket(f"http://127.0.0.1:{port}", "bucket").store()).restore(tmp_path / "images.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["images.db", "images.db-wal", "images.db-journal"])
def test_what_there_is_of_a_database_is_never_touched(
    files: FileStore, database: Path, tmp_path: Path, name: str
) -> None:
    Backups(files).make(database)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_bytes(b"precious")
    with pytest.raises(RestoreFailed, match=f"was not restored: {name} exists; move it away first"):
        Backups(files).restore(tmp_path / "new" / "images.db")
    assert files_in(tmp_path / "new") == [name]
    assert (tmp_path / "new" / name).read_bytes() == b"precious"


def tear(database: Path) -> None:
    content = bytearray(database.read_bytes())
    content[4096:4200] = bytes(104)
    database.write_bytes(content)


def orphan(database: Path) -> None:
    with sqlite3.connect(database) as db:
        db.execute("INSERT INTO children VALUES (99)")
    db.close()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (tear, "damaged|malformed"),
        (orphan, "a row of children refers to none of parents"),
        (Path.unlink, "unable to open database file"),
        (lambda path: path.write_bytes(b"something else" * 100), "file is not a database"),
    ],
    ids=["torn", "inconsistent", "missing", "no database"],
)
def test_a_damaged_database_is_not_backed_up(
    files: FileStore, database: Path, harm: Callable[[Path], None], told: str
) -> None:
    harm(database)
    with pytest.raises(StoreError, match=told):
        Backups(files).make(database)
    assert list(files.keys()) == []
    assert not list(database.parent.glob("*.copy"))


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
