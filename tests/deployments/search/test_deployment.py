"""The search deployment over a real index, with an embedder small enough to know its answers."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from PIL import Image
from ray.serve.handle import DeploymentHandle

from deployments.search.deployment import Search
from models.pictures import open_picture
from stores.errors import (
    NotFound,
)
from stores.index.records import ImageFilter, Page, thumbnail_key
from stores.objects import FileStore
from tests.buckets import Bucket
from tests.deployments.search.searching import COLOURS, open_search, picture


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
