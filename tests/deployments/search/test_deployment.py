"""The search deployment over a real index, with an embedder small enough to know its answers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.embedding import Embedding
from deployments.search.deployment import Model, Search
from deployments.search.embedders import embedder_of
from models.entry import ModelEntry
from models.errors import InvalidImage
from models.pictures import open_picture
from stores.backup import Backups
from stores.errors import (
    EmbedderChanged,
    NotFound,
    ProjectNotFound,
    RestoreFailed,
    StoreError,
    StoreUnavailable,
    UploadFailed,
)
from stores.index.index import ImageIndex
from stores.index.records import Embedder, ImageFilter, Page, thumbnail_key
from stores.objects import FileStore, ObjectStore
from tests.api.pictures import png, scene
from tests.buckets import Bucket
from tests.stores.images import open_database

COLOUR_EMBEDDER = Embedder("colours")
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class ColourEmbedder:
    """Mean colour as the vector, for words and for pictures."""

    def __init__(self) -> None:
        self.asked = 0

    async def embed_texts(self, texts: list[str]) -> np.ndarray:
        return _unit(np.array([np.sum([COLOURS[w] for w in text.split()], axis=0) for text in texts], np.float32))

    async def embed_images(self, images: list[bytes]) -> np.ndarray:
        self.asked += len(images)
        return _unit(np.array([np.asarray(open_picture(i)).mean((0, 1)) + 1 for i in images], np.float32))

    async def ready(self) -> None:
        return None

    async def count(self) -> int:
        return self.asked


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def picture(colour: tuple[int, int, int], kind: str = "PNG", exif: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 20), colour).save(buffer, kind, exif=exif)
    return buffer.getvalue()


@pytest.fixture
def embedder() -> DeploymentHandle:
    return serve.run(serve.deployment(ColourEmbedder).bind(), _local_testing_mode=True)


def open_search(
    folder: Path,
    handle: DeploymentHandle,
    embedder: Embedder = COLOUR_EMBEDDER,
    *,
    files: Callable[[], ObjectStore] | None = None,
    where: Path | str | None = None,
    with_backups: bool = False,
) -> Search:
    database = folder / "images.db"

    def index() -> ImageIndex:
        return ImageIndex(open_database(where or database), embedder, key_prefix="AI/SEARCH/")

    return Search(
        files or partial(FileStore, folder / "files"),
        index,
        embedder,
        handle,
        Model("colours", 60),
        (lambda store: Backups(FileStore(folder / "backups"))) if with_backups else None,
        database if with_backups else None,
    )


@pytest.fixture(params=["sqlite", "postgres"])
async def search(request: pytest.FixtureRequest, tmp_path: Path, embedder: DeploymentHandle) -> AsyncIterator[Search]:
    where = request.getfixturevalue("database_url") if request.param == "postgres" else None
    search = open_search(tmp_path, embedder, where=where)
    yield search
    await asyncio.to_thread(search.close)


async def test_a_picture_is_found_by_words_by_a_picture_and_by_its_id(search: Search) -> None:
    ids = {}
    for name, colour in COLOURS.items():
        record, duplicate = await search.add("p", f"{name}.png", picture(colour))
        ids[name] = record.id
        assert not duplicate
    for hits in (
        await search.search_text("p", "green", 2),
        await search.search_image("p", picture((10, 250, 10)), 2),
        await search.search_id("p", ids["green"], 2),
    ):
        assert hits[0][0].id == ids["green"]
        assert hits[0][1] > 0.99
        assert len(hits) == 2
    assert [record.id for record, _ in await search.search_text("p", "red blue", 3, 0.5)] == [ids["red"], ids["blue"]]


async def test_a_record_says_what_the_bytes_are_not_what_the_client_called_them(search: Search, tmp_path: Path) -> None:
    sideways = Image.Exif()
    sideways[0x0112] = 6
    data = picture((9, 9, 9), "JPEG", sideways.tobytes())
    record, _ = await search.add("p", "C:\\photos\\na\x00me.png", data)
    assert (record.content_type, record.width, record.height, record.size_bytes) == ("image/jpeg", 20, 40, len(data))
    assert record.original_filename == "name.png"
    assert record.r2_key == f"AI/SEARCH/p/images/{record.id}.jpg"
    assert FileStore(tmp_path / "files").get(record.r2_key) == data
    assert record.dominant_color == "#090909"
    small = open_picture(FileStore(tmp_path / "files").get(thumbnail_key(record.r2_key)))
    assert small.size == (20, 40)


async def test_pictures_may_be_kept_in_a_bucket(tmp_path: Path, embedder: DeploymentHandle, bucket: Bucket) -> None:
    search = open_search(tmp_path, embedder, files=bucket.store)
    data = picture(COLOURS["red"])
    record, _ = await search.add("p", "red.png", data)
    assert bucket.store().get(record.r2_key) == data
    await search.delete("p", record.id)
    await asyncio.to_thread(search.close)
    assert list(bucket.store().keys()) == []


async def test_the_same_bytes_are_embedded_once_and_give_the_same_record(
    search: Search, embedder: DeploymentHandle
) -> None:
    first, _ = await search.add("p", "a.png", picture(COLOURS["red"]))
    assert await search.add("p", "b.png", picture(COLOURS["red"])) == (first, True)
    assert await embedder.count.remote() == 1
    other, duplicate = await search.add("q", "a.png", picture(COLOURS["red"]))
    assert not duplicate
    assert other.id != first.id


async def test_the_same_bytes_sent_many_times_at_once_give_one_record(search: Search) -> None:
    added = await asyncio.gather(*(search.add("p", "a.png", picture(COLOURS["red"])) for _ in range(8)))
    assert len({record.id for record, _ in added}) == 1
    assert sorted(duplicate for _, duplicate in added) == [False] + [True] * 7


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture((1, 2, 3))[:-30]]
)
async def test_what_is_no_whole_picture_is_refused_and_leaves_nothing(search: Search, data: bytes) -> None:
    with pytest.raises(InvalidImage):
        await search.add("new", "a.png", data)
    with pytest.raises(ProjectNotFound):
        await search.page("new", 10)


async def test_deleting_a_picture_or_a_project_removes_the_files(search: Search, tmp_path: Path) -> None:
    kept, _ = await search.add("keep", "a.png", picture(COLOURS["red"]))
    gone, _ = await search.add("keep", "b.png", picture(COLOURS["blue"]))
    for i in range(250):
        await search.add("drop", f"{i}.png", picture((i, 0, 0)))
    await search.delete("keep", gone.id)
    await search.delete_project("drop")
    assert list(FileStore(tmp_path / "files").keys()) == [kept.r2_key, thumbnail_key(kept.r2_key)]
    with pytest.raises(NotFound):
        await search.get("keep", gone.id)
    assert [(p.project_id, p.image_count) for p in await search.projects()] == [("default", 0), ("keep", 1)]


async def test_everything_is_there_after_a_restart(tmp_path: Path, embedder: DeploymentHandle) -> None:
    first = open_search(tmp_path, embedder)
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    await asyncio.to_thread(first.close)
    second = open_search(tmp_path, embedder)
    assert (await second.search_text("p", "red", 1))[0][0] == record
    await asyncio.to_thread(second.close)


async def test_one_that_was_never_closed_does_not_hold_up_its_collection(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    search = open_search(tmp_path, embedder)
    search.itself = search  # type: ignore[attr-defined]  # a cycle: collected with its thread's executor
    del search
    await asyncio.to_thread(gc.collect)
    again = open_search(tmp_path, embedder)
    assert await again.page("default", 5) == Page([], None)
    await asyncio.to_thread(again.close)


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("images.db.before-restore-*"))


def lose_index(folder: Path) -> None:
    for path in folder.glob("images.db*"):
        if path.is_file():
            path.unlink()


async def eventually(is_so: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not await is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("C:\\pictures\\a\x00b.png", "ab.png"),
        ("../../etc/passwd", "passwd"),
        ("invoice\u202egnp.exe", "invoicegnp.exe"),
        ("\u2067שלום.png\u2069", "שלום.png"),
        ("\u202e", "upload"),
        ("a\u200bb\u2028c\u00add.png", "abcd.png"),
        ("نمی\u200cخواهم.png", "نمی\u200cخواهم.png"),
    ],
)
async def test_names_of_files_are_shown_without_what_deceives(search: Search, given: str, shown: str) -> None:
    record, _ = await search.add("p", given, picture(COLOURS["red"]))
    assert record.original_filename == shown


async def test_only_wanted_pictures_are_found(search: Search) -> None:
    await search.add("p", "a.png", picture(COLOURS["red"]))
    jpeg, _ = await search.add("p", "b.jpg", picture(COLOURS["red"], "JPEG"))
    hits = await search.search_text("p", "red", 5, only=ImageFilter(("image/jpeg",)))
    assert [record for record, _ in hits] == [jpeg]
    hits = await search.search_id("p", jpeg.id, 5, only=ImageFilter(since=jpeg.created_at))
    assert [record for record, _ in hits] == [jpeg]


async def test_pictures_are_embedded_again_when_their_embedder_cannot_be_had_any_more(
    tmp_path: Path, embedder: DeploymentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_search(tmp_path, embedder)
    records = [(await first.add("p", f"{i}.png", picture((i, 0, 255 - i))))[0] for i in range(70)]
    await asyncio.to_thread(first.close)
    FileStore(tmp_path / "files").delete(records[3].r2_key)
    FileStore(tmp_path / "files").put(records[50].r2_key, b"damaged")
    monkeypatch.setattr("deployments.search.deployment._EMBED_SECONDS", 0.2)
    second = open_search(tmp_path, embedder, Embedder("colours v2"))
    with pytest.raises(EmbedderChanged, match="cannot be loaded any more; 0 of 70 have been embedded again"):
        await second.search_text("p", "red", 1)
    state = await second.state()
    assert (state["state"], state["done"], state["total"]) == ("embedding", 0, 70)
    assert "cannot be loaded any more" in state["why"]
    assert await second.get("p", records[0].id) == records[0]
    added, _ = await second.add("p", "new.png", picture(COLOURS["green"]))

    async def is_ready() -> bool:
        return await second.state() == {"state": "ready", "failed": 2}

    await eventually(is_ready)
    assert (await second.search_text("p", "green", 1))[0][0] == added
    found = {record.id for record, _ in await second.search_text("p", "blue", 100)}
    assert found == {record.id for i, record in enumerate([*records, added]) if i not in (3, 50)}
    await asyncio.to_thread(second.close)


class Slow(ColourEmbedder):
    """One that embeds nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def embed_images(self, images: list[bytes]) -> np.ndarray:
        await self.may.wait()
        return await super().embed_images(images)

    async def begin(self) -> None:
        self.may.set()


async def test_the_old_model_serves_while_pictures_are_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ModelEntry(engine="clip", checkpoint="builtin:clip", threads=1)
    clip = serve.run(
        serve.deployment(Embedding).bind("clip", entry), name="clip", route_prefix=None, _local_testing_mode=True
    )
    first = open_search(tmp_path, clip, embedder_of(entry))
    scenes = {name: png(scene("circle", name, "white")) for name in ("red", "green", "blue")}
    ids = {name: (await first.add("p", f"{name}.png", data))[0].id for name, data in scenes.items()}
    await asyncio.to_thread(first.close)

    monkeypatch.setattr("deployments.search.deployment._EMBED_SECONDS", 0.1)
    slow = serve.run(serve.deployment(Slow).bind(), name="slow", route_prefix=None, _local_testing_mode=True)
    second = open_search(tmp_path, slow, Embedder("colours"))
    for name, words in (("green", "a green circle on a white background"), ("blue", "하얀 배경의 파란 원")):
        assert (await second.search_text("p", words, 1))[0][0].id == ids[name]
    assert (await second.search_image("p", scenes["red"], 1))[0][0].id == ids["red"]
    assert (await second.state())["state"] == "embedding"
    await slow.begin.remote()

    async def is_ready() -> bool:
        return await second.state() == {"state": "ready"}

    await eventually(is_ready)
    assert (await second.search_text("p", "green", 1))[0][0].id == ids["green"]
    await asyncio.to_thread(second.close)


class Moody(FileStore):
    """A store that takes or deletes nothing for a while."""

    refuses = ""

    def put(self, key: str, content: bytes) -> None:
        if self.refuses == "put" and "/images/" in key:
            raise UploadFailed("not now")
        super().put(key, content)

    def delete(self, key: str) -> None:
        if self.refuses in ("delete", key):
            raise UploadFailed("not now")
        super().delete(key)


async def test_a_store_that_is_down_in_the_middle_of_an_upload_leaves_nothing(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    files = Moody(tmp_path / "files")
    search = open_search(tmp_path, embedder, files=lambda: files)
    files.refuses = "put"
    with pytest.raises(UploadFailed):
        await search.add("p", "a.png", picture(COLOURS["red"]))
    assert (await search.page("p", 10)).images == []
    assert list(files.keys()) == []
    files.refuses = ""
    record, duplicate = await search.add("p", "a.png", picture(COLOURS["red"]))
    assert not duplicate

    files.refuses = "delete"
    await search.delete("p", record.id)
    assert (await search.page("p", 10)).images == []
    assert len(list(files.keys())) == 2, "they could not be deleted yet"
    files.refuses = ""
    await search._garbage.sweep()
    assert list(files.keys()) == []
    await asyncio.to_thread(search.close)


async def test_a_caller_who_leaves_in_the_middle_of_an_upload_leaves_a_whole_picture_or_none(search: Search) -> None:
    for i in range(20):
        adding = asyncio.ensure_future(search.add("p", "a.png", picture((i, 200, 9))))
        await asyncio.sleep(i / 1000)
        adding.cancel()
        await asyncio.wait([adding])
    for i in range(20):  # nothing is left in the making, for which others would wait in vain
        await asyncio.wait_for(search.add("p", "a.png", picture((i, 200, 9))), 5)
    records = (await search.page("p", 100)).images
    assert len(await search.search_text("p", "green", 100)) == len(records) == 20
    strays = await search.strays(remove=False)
    assert (strays.orphans, strays.missing) == ([], [])


async def test_orphans_are_found_and_removed_and_records_without_files_are_told(search: Search, tmp_path: Path) -> None:
    kept, _ = await search.add("p", "a.png", picture(COLOURS["red"]))
    lost, _ = await search.add("p", "b.png", picture(COLOURS["blue"]))
    files = FileStore(tmp_path / "files")
    orphan = kept.r2_key.replace(kept.id, "00000000-0000-4000-8000-000000000000")
    files.put(orphan, b"nobody's")
    files.delete(lost.r2_key)
    for remove in (False, True):
        strays = await search.strays(remove=remove)
        assert (strays.orphans, strays.missing) == ([orphan], [("p", lost.id)])
        assert files.exists(orphan) is not remove
    assert files.get(kept.r2_key)


async def test_a_picture_whose_file_is_gone_is_whole_again_when_it_is_sent_again(
    search: Search, tmp_path: Path
) -> None:
    record, _ = await search.add("p", "a.png", picture(COLOURS["red"]))
    files = FileStore(tmp_path / "files")
    files.delete(record.r2_key)
    assert await search.add("p", "a.png", picture(COLOURS["red"])) == (record, True)
    assert files.get(record.r2_key) == picture(COLOURS["red"])


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


async def test_files_of_an_index_that_was_set_aside_are_no_orphans_until_it_is_gone(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    search = open_search(tmp_path, embedder, with_backups=True)
    await search.add("p", "a.png", picture(COLOURS["red"]))
    older = await search.back_up()
    later, _ = await search.add("p", "b.png", picture(COLOURS["blue"]))
    newer = await search.back_up()
    await search.restore(older.key)
    strays = await search.strays(remove=True)
    assert (strays.orphans, strays.deleted, strays.set_aside) == ([], 0, 2), "the picture and its thumbnail"
    await search.restore(newer.key)
    assert (await search.search_text("p", "blue", 1))[0][0] == later
    assert FileStore(tmp_path / "files").get(later.r2_key) == picture(COLOURS["blue"])

    await search.restore(older.key)
    for aside in set_aside(tmp_path):
        aside.write_bytes(b"no database")
    strays = await search.strays(remove=True)
    assert (strays.deleted, strays.set_aside) == (0, 2), "nobody knows what it named"
    assert strays.indexes_set_aside == sorted(path.name for path in set_aside(tmp_path))
    strays = await search.strays(remove=True, forget_set_aside=True)
    assert (strays.deleted, strays.set_aside, set_aside(tmp_path)) == (2, 0, [])
    await asyncio.to_thread(search.close)


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


async def test_an_object_that_cannot_be_deleted_holds_up_no_other(tmp_path: Path, embedder: DeploymentHandle) -> None:
    files = Moody(tmp_path / "files")
    search = open_search(tmp_path, embedder, files=lambda: files)
    records = [(await search.add("p", f"{i}.png", picture((i, 9, 9))))[0] for i in range(120)]
    files.refuses = min(record.r2_key for record in records)
    await search.delete_project("p")
    assert list(files.keys()) == [files.refuses]
    files.refuses = ""
    await search._garbage.sweep()
    assert list(files.keys()) == []
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


async def test_the_event_loop_stays_free_while_many_are_added(search: Search) -> None:
    longest, done = 0.0, False

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while not done:
            begun = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - begun)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(search.add("p", f"{i}.png", picture((i, 255 - i, 7))) for i in range(100)))
    done = True
    await watching
    assert longest < 1.0
