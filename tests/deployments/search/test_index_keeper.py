"""An index that is gone, damaged or restored while others use it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest
from ray.serve.handle import DeploymentHandle

from stores.errors import (
    NotFound,
    RestoreFailed,
    StoreError,
    StoreUnavailable,
)
from stores.objects import FileStore
from tests.deployments.search.searching import COLOURS, eventually, open_search, picture, set_aside


def lose_index(folder: Path) -> None:
    for path in folder.glob("images.db*"):
        if path.is_file():
            path.unlink()


async def test_an_index_that_is_gone_is_restored_from_its_backup(tmp_path: Path, embedder: DeploymentHandle) -> None:
    first = open_search(tmp_path, embedder, with_backups=True)
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    made = await first.back_up()
    assert [backup.key for backup in await first.backups()] == [made.key]
    await asyncio.to_thread(first.close)
    lose_index(tmp_path)
    second = open_search(tmp_path, embedder, with_backups=True)
    assert (await second.search_text("p", "red", 1))[0][0] == record
    await second.add("p", "b.png", picture(COLOURS["blue"]))
    assert (await second.restore(None)).key == made.key
    assert (await second.page("p", 10)).images == [record]
    with pytest.raises(NotFound, match=made.key):
        await second.restore("image_search.db.versions/none.db")
    backups = FileStore(tmp_path / "backups")
    whole = backups.get(made.key)
    backups.put(made.key, whole[:-100])
    with pytest.raises(RestoreFailed):
        await second.restore(made.key)
    assert (await second.page("p", 10)).images == [record], "as it was"
    assert await second.add("p", "c.png", picture(COLOURS["green"]))
    await asyncio.to_thread(second.close)


async def test_an_index_that_a_crash_left_with_a_log_is_set_aside_with_it(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    first = open_search(tmp_path, embedder, with_backups=True)
    await first.add("p", "a.png", picture(COLOURS["red"]))
    made = await first.back_up()
    await first.add("p", "b.png", picture(COLOURS["blue"]))
    await asyncio.to_thread(first.close)
    database, log = tmp_path / "images.db", tmp_path / "images.db-wal"
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 999")  # a newer server's, so that this one does not open it
        files = {path: path.read_bytes() for path in (database, log)}
    for path, content in files.items():
        path.write_bytes(content)

    second = open_search(tmp_path, embedder, with_backups=True)
    with pytest.raises(StoreUnavailable):
        await second.strays(remove=True, forget_set_aside=True)
    await second.restore(made.key)
    strays = await second.strays(remove=True)
    assert (strays.deleted, strays.set_aside) == (0, 2)
    await asyncio.to_thread(second.close)
    database.write_bytes(b"damaged")
    third = open_search(tmp_path, embedder, with_backups=True)
    with pytest.raises(StoreUnavailable):
        await third.strays(remove=True, forget_set_aside=True)
    assert set_aside(tmp_path), "while nothing can be looked at, nothing is forgotten"
    await asyncio.to_thread(third.close)


class Waiting(FileStore):
    """A store that puts pictures when it may."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may = threading.Event()
        self.may.set()

    def put(self, key: str, content: bytes) -> None:
        self.may.wait(10)
        super().put(key, content)


async def test_an_upload_that_a_restore_overtakes_touches_no_other_picture(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    files = Waiting(tmp_path / "files")
    search = open_search(tmp_path, embedder, with_backups=True, files=lambda: files)
    first, _ = await search.add("p", "a.png", picture(COLOURS["red"]))
    made = await search.back_up()
    files.may.clear()
    overtaken = asyncio.ensure_future(search.add("p", "b.png", picture(COLOURS["green"])))
    await asyncio.sleep(0.5)
    await search.restore(made.key)
    files.may.set()
    with pytest.raises(StoreUnavailable, match="restored"):
        await overtaken
    other, _ = await search.add("p", "c.png", picture(COLOURS["blue"]))
    assert (await search.page("p", 10)).images == [first, other]
    strays = await search.strays(remove=False)
    assert (strays.orphans, strays.missing) == ([], [])
    assert len(set_aside(tmp_path)) == 1
    await asyncio.to_thread(search.close)


async def test_a_damaged_index_stops_the_search_part_and_a_backup_takes_its_place(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    first = open_search(tmp_path, embedder, with_backups=True)
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    await first.back_up()
    await asyncio.to_thread(first.close)
    (tmp_path / "images.db").write_bytes(b"something else" * 1000)
    second = open_search(tmp_path, embedder, with_backups=True)
    state = await second.state()
    assert state["state"] == "unavailable"
    assert "atelier search restore" in state["why"]
    assert str(tmp_path) not in state["why"]
    with pytest.raises(StoreError):
        await second.back_up()
    await second.restore(None)
    assert await second.state() == {"state": "ready"}
    assert (await second.search_text("p", "red", 1))[0][0] == record
    await asyncio.to_thread(second.close)


async def test_a_failed_restore_stops_the_search_part_until_it_succeeds(
    tmp_path: Path, embedder: DeploymentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_search(tmp_path, embedder, with_backups=True)
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    made = await first.back_up()
    await asyncio.to_thread(first.close)
    lose_index(tmp_path)
    backups = FileStore(tmp_path / "backups")
    whole = backups.get(made.key)
    backups.put(made.key, whole[:-100])
    monkeypatch.setattr("deployments.search.deployment._REOPEN_SECONDS", 0.1)
    second = open_search(tmp_path, embedder, with_backups=True)
    state = await second.state()
    assert state["state"] == "unavailable"
    assert made.key in state["why"]
    for refused in (second.page("p", 10), second.add("p", "b.png", picture((1, 2, 3))), second.back_up()):
        with pytest.raises(StoreError):
            await refused
    assert not (tmp_path / "images.db").exists(), "no empty index is made in its place"
    assert [key for key in sorted(backups.keys()) if key.endswith(".db")] == [made.key]
    backups.put(made.key, whole)

    async def is_ready() -> bool:
        return await second.state() == {"state": "ready"}

    await eventually(is_ready)
    assert (await second.page("p", 10)).images == [record]
    await asyncio.to_thread(second.close)
