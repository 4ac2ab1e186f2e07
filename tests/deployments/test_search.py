"""The search deployment over a real index, with an embedder small enough to know its answers."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.search import Search
from models.errors import InvalidImage
from models.pictures import open_picture
from stores.errors import EmbedderChanged, NotFound, ProjectNotFound
from stores.index import Page
from stores.objects import FileStore
from tests.buckets import Bucket

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


@pytest.fixture
async def search(tmp_path: Path, embedder: DeploymentHandle) -> AsyncIterator[Search]:
    search = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
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


async def test_pictures_may_be_kept_in_a_bucket(tmp_path: Path, embedder: DeploymentHandle, bucket: Bucket) -> None:
    search = Search(tmp_path, bucket.store, embedder, "colours")
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
    assert list(FileStore(tmp_path / "files").keys()) == [kept.r2_key]
    with pytest.raises(NotFound):
        await search.get("keep", gone.id)
    assert [(p.project_id, p.image_count) for p in await search.projects()] == [("default", 0), ("keep", 1)]


async def test_everything_is_there_after_a_restart(tmp_path: Path, embedder: DeploymentHandle) -> None:
    first = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    await asyncio.to_thread(first.close)
    second = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
    assert (await second.search_text("p", "red", 1))[0][0] == record
    await asyncio.to_thread(second.close)


async def test_one_that_was_never_closed_does_not_hold_up_its_collection(
    tmp_path: Path, embedder: DeploymentHandle
) -> None:
    search = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
    search.itself = search  # type: ignore[attr-defined]  # a cycle: collected with its thread's executor
    del search
    await asyncio.to_thread(gc.collect)
    again = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
    assert await again.page("default", 5) == Page([], None)
    await asyncio.to_thread(again.close)


async def test_scores_of_another_embedder_are_not_given(tmp_path: Path, embedder: DeploymentHandle) -> None:
    first = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours")
    record, _ = await first.add("p", "a.png", picture(COLOURS["red"]))
    await asyncio.to_thread(first.close)
    second = Search(tmp_path, partial(FileStore, tmp_path / "files"), embedder, "colours v2")
    with pytest.raises(EmbedderChanged, match="another model"):
        await second.search_text("p", "red", 1)
    assert await second.get("p", record.id) == record
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
    assert longest < 0.25
