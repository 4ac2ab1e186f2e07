"""The embedder of image search when it is dead, does not start, or has just been replaced."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayActorError

from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.calls.states import ModelStates, Snapshot
from deployments.ingress.errors import ApiError
from deployments.residency.board import ResidencyStatus
from deployments.search.embedders import Embedders
from models.errors import InvalidImage
from stores.errors import EmbedderChanged
from stores.index.records import Embedder
from tests.deployments.ingress.calls.test_model_handle import Answer, Replicas, deployment

NEW, OLD = Embedder("new"), Embedder("old")
RUNS = Snapshot({"clip": deployment("RUNNING")}, [], {})
COLD = Snapshot({"clip": deployment()}, [], {})
TOO_LARGE = Snapshot({"clip": deployment()}, [], {"clip": ResidencyStatus(is_too_large=True)})


def vectors() -> np.ndarray:
    return np.eye(1, 4, dtype=np.float32)


class Clip(Replicas):
    """Serve's handle of the embedder's deployment; both of its methods play the next play."""

    @property
    def embed_texts(self) -> Clip:
        return self

    @property
    def embed_images(self) -> Clip:
        return self

    def remote(self, *args: object) -> Answer:
        return super().remote(*args)


def embedders_of(
    clip: Clip, snapshot: Snapshot = RUNS, serving: Embedder = NEW, start_timeout: float = 60
) -> Embedders:
    async def look() -> Embedder:
        return serving

    handle = ModelHandle("clip", clip, ModelStates(["clip"], lambda: snapshot), start_timeout)
    return Embedders(NEW, handle, look)


async def refusal(work: Any) -> tuple[int, str | None]:
    with pytest.raises(ApiError) as refused:
        await work
    assert "Retry-After" in refused.value.headers or refused.value.headers["x-should-retry"] == "false"
    return refused.value.status, refused.value.code


async def test_a_search_whose_embedder_dies_is_given_to_its_next_process() -> None:
    embedders = embedders_of(Clip([RayActorError()], [vectors()], [RayActorError()], [vectors()]))
    assert (await embedders.text(NEW, "red") == vectors()[0]).all()
    assert (await embedders.image(NEW, b"picture") == vectors()[0]).all()
    assert embedders.calls == {"ok": 2}


async def test_an_embedder_that_dies_twice_is_a_503_and_counted_and_nothing_of_it_is_remembered() -> None:
    embedders = embedders_of(Clip([RayActorError()], [RayActorError()], [vectors()]))
    assert await refusal(embedders.text(NEW, "red")) == (503, "model_restarting")
    assert embedders.calls == {"unavailable": 1}
    assert (await embedders.text(NEW, "red") == vectors()[0]).all()


@pytest.mark.parametrize(("snapshot", "code"), [(COLD, "model_starting"), (TOO_LARGE, "model_too_large")])
async def test_an_embedder_that_cannot_start_is_waited_for_no_longer_than_any_model(
    monkeypatch: pytest.MonkeyPatch, snapshot: Snapshot, code: str
) -> None:
    monkeypatch.setattr("deployments.ingress.calls.model_handle._STATE_SECONDS", 0.01)
    clip = Clip([asyncio.Event()])
    embedders = embedders_of(clip, snapshot, start_timeout=0.05)
    assert await refusal(embedders.text(NEW, "red")) == (503, code)
    assert clip.cancelled == 1


async def test_a_picture_that_the_embedder_refuses_is_the_callers_fault() -> None:
    embedders = embedders_of(Clip([InvalidImage("truncated", "image[0]")]))
    with pytest.raises(InvalidImage, match="truncated"):
        await embedders.image(NEW, b"picture")
    assert embedders.calls == {"refused": 1}


async def test_a_search_that_waits_while_another_embedder_takes_over_does_not_load_the_old_one_again() -> None:
    serving = [OLD]

    async def look() -> Embedder:
        return serving[0]

    handle = ModelHandle("clip", Clip(), ModelStates(["clip"], lambda: RUNS), 60)
    embedders = Embedders(NEW, handle, look)
    await embedders.refresh()
    works = threading.Event()
    busy = embedders._old._thread.submit(works.wait, 20)
    waiting = asyncio.create_task(embedders.text(OLD, "red"))
    await asyncio.sleep(0)
    serving[0] = NEW
    taking_over = asyncio.create_task(embedders.refresh())
    await asyncio.sleep(0)
    works.set()
    with pytest.raises(EmbedderChanged, match="another model serves now"):
        await waiting
    assert await taking_over == NEW
    assert busy.result()
    assert (embedders._old._engine, embedders.old_failure) == (None, None)
    embedders.close()
