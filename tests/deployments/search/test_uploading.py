"""Pictures on their way into the index: twice at once, broken off, or into a store that is down."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from ray.serve.handle import DeploymentHandle

from deployments.search.deployment import Search
from models.errors import InvalidImage
from stores.errors import (
    ProjectNotFound,
    UploadFailed,
)
from stores.objects import FileStore
from tests.deployments.search.searching import COLOURS, Moody, open_search, picture


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


async def test_a_picture_whose_file_is_gone_is_whole_again_when_it_is_sent_again(
    search: Search, tmp_path: Path
) -> None:
    record, _ = await search.add("p", "a.png", picture(COLOURS["red"]))
    files = FileStore(tmp_path / "files")
    files.delete(record.r2_key)
    assert await search.add("p", "a.png", picture(COLOURS["red"])) == (record, True)
    assert files.get(record.r2_key) == picture(COLOURS["red"])


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
