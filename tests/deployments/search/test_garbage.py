"""Files that no picture has, and pictures without a file."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ray.serve.handle import DeploymentHandle

from deployments.search.deployment import Search
from stores.objects import FileStore
from tests.deployments.search.searching import COLOURS, Moody, open_search, picture, set_aside


async def test_orphans_are_removed_and_records_without_files_are_reported(search: Search, tmp_path: Path) -> None:
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
