"""Pictures are embedded again when their embedder has gone, and are found by the old one meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.embedding import Embedding
from deployments.search.embedders import embedder_of
from models.entry import ModelEntry
from models.errors import InferenceFailed, OutOfMemory
from models.pictures import open_picture
from stores.errors import (
    EmbedderChanged,
)
from stores.index.records import Embedder
from stores.index.reembedding import Progress, Reembedding
from stores.objects import FileStore
from tests.api.pictures import png, scene
from tests.deployments.search.searching import COLOURS, ColourEmbedder, eventually, open_search, picture


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


class Choking(ColourEmbedder):
    """One that fails on red pictures, with whatever it was given, and on no others."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    async def embed_images(self, *images: bytes) -> np.ndarray:
        if any(np.asarray(open_picture(each)).mean((0, 1))[0] > 200 for each in images):
            raise self._error
        return await super().embed_images(*images)


@pytest.mark.parametrize(
    "error", [ValueError("cannot unpack"), InferenceFailed("shapes"), OutOfMemory("no room"), RayActorError()]
)
async def test_one_picture_that_the_embedder_chokes_on_keeps_no_other_from_being_embedded(
    tmp_path: Path, embedder: DeploymentHandle, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first = open_search(tmp_path, embedder)
    records = {name: (await first.add("p", f"{name}.png", picture(COLOURS[name])))[0] for name in COLOURS}
    await asyncio.to_thread(first.close)
    monkeypatch.setattr("deployments.search.deployment._EMBED_SECONDS", 0.1)
    choking = serve.run(
        serve.deployment(Choking).bind(error), name="choking", route_prefix=None, _local_testing_mode=True
    )
    second = open_search(tmp_path, choking, Embedder("colours v2"))

    async def is_ready() -> bool:
        return await second.state() == {"state": "ready", "failed": 1}

    await eventually(is_ready)
    found = {record.id for record, _ in await second.search_text("p", "blue", 10)}
    assert found == {records[name].id for name in ("green", "blue")}
    await asyncio.to_thread(second.close)


async def test_an_embedder_that_fails_on_every_picture_blames_none_of_them(
    tmp_path: Path, embedder: DeploymentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_search(tmp_path, embedder)
    for name in COLOURS:
        await first.add("p", f"{name}.png", picture(COLOURS[name]))
    await asyncio.to_thread(first.close)
    monkeypatch.setattr("deployments.search.deployment._EMBED_SECONDS", 0.1)
    dead = serve.run(serve.deployment(Dead).bind(), name="dead", route_prefix=None, _local_testing_mode=True)
    second = open_search(tmp_path, dead, Embedder("colours v2"))

    async def is_given_up() -> bool:  # all were tried together, one alone, and then a grey one
        return int(await dead.count.remote()) >= 5

    await eventually(is_given_up)
    state = await second.state()
    assert (state["state"], state["done"], "failed" in state) == ("embedding", 0, False)
    await dead.revive.remote()

    async def is_ready() -> bool:
        return await second.state() == {"state": "ready"}

    await eventually(is_ready)
    await asyncio.to_thread(second.close)


class Dead(ColourEmbedder):
    """One that fails on everything until it is revived."""

    def __init__(self) -> None:
        super().__init__()
        self.is_alive = False

    async def embed_images(self, *images: bytes) -> np.ndarray:
        if not self.is_alive:
            self.asked += len(images)
            raise InferenceFailed("the device is gone")
        return await super().embed_images(*images)

    async def revive(self) -> None:
        self.is_alive = True


class Slow(ColourEmbedder):
    """One that embeds nothing before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def embed_images(self, *images: bytes) -> np.ndarray:
        await self.may.wait()
        return await super().embed_images(*images)

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


async def test_however_often_the_state_is_asked_for_all_pictures_are_counted_once(
    tmp_path: Path, embedder: DeploymentHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_search(tmp_path, embedder)
    await first.add("p", "a.png", picture(COLOURS["red"]))
    await asyncio.to_thread(first.close)
    counts: list[Progress] = []
    really = Reembedding.progress

    def count(index: Reembedding) -> Progress:
        counts.append(really(index))
        return counts[-1]

    monkeypatch.setattr(Reembedding, "progress", count)
    monkeypatch.setattr("deployments.search.deployment._EMBED_SECONDS", 60)
    second = open_search(tmp_path, embedder, Embedder("colours v2"))
    states = [await second.state() for _ in range(50)]
    assert {(each["state"], each["done"], each["total"]) for each in states} == {("embedding", 0, 1)}
    assert len(counts) == 1
    await asyncio.to_thread(second.close)
