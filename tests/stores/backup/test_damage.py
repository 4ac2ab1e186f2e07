"""Backups, lists and databases that are damaged or gone are said to be, and never taken for good ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.environment import free_ports
from stores.backup import Backup, Backups
from stores.errors import RestoreFailed, StoreError
from stores.objects import FileStore
from tests.buckets import Bucket
from tests.stores.backup.databases import LIST
from tests.stores.disks import files_in


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
