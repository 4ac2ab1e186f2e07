"""Pictures are embedded again when their embedder has gone, and are found by the old one meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.embedding import Embedding
from deployments.search.embedders import embedder_of
from models.entry import ModelEntry
from stores.errors import (
    EmbedderChanged,
)
from stores.index.records import Embedder
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
