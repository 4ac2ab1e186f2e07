"""Checkpoints that come from a hub, which is slow or gone: they keep nobody else from loading."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deployments.embedding import Embedding
from deployments.residency.presence import Presence
from deployments.voice import Voice
from models import checkpoints
from models.catalog import hub_sources
from models.checkpoints import download, local_folder
from models.entry import ModelEntry
from models.errors import CheckpointError
from tests.hub import Hub, running_hub

FROM_HUB = ModelEntry(engine="clip", checkpoint="test/clip", threads=1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = local_folder("builtin:clip")
    assert folder
    with running_hub(folder, tmp_path / "cache", monkeypatch) as running:
        yield running


def has_begun(downloading: Presence) -> None:
    deadline = time.monotonic() + 60
    while not downloading.facts.downloaded_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_while_one_model_is_downloaded_others_load(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Presence] = []
    here = Presence.here

    def noted(alias: str, *, keep: bool = False) -> Presence:
        seen.append(here(alias, keep=keep))
        return seen[-1]

    monkeypatch.setattr(Presence, "here", noted)
    hub.flows.clear()
    made: list[Embedding] = []
    loading = threading.Thread(target=lambda: made.append(Embedding("clip", FROM_HUB)), daemon=True)
    loading.start()
    assert hub.stalled.wait(120)
    (downloading,) = seen
    assert downloading.facts.state == "downloading"
    await asyncio.to_thread(has_begun, downloading)
    assert downloading.facts.downloaded_bytes < downloading.facts.download_bytes
    voice = Voice("voice", ModelEntry(engine="espeak", checkpoint="builtin:voice"))
    await voice.ready()
    assert not made
    hub.flows.set()
    loading.join()
    (clip,) = made
    assert isinstance(await clip.embed_texts(["a red circle"]), np.ndarray)
    assert downloading.facts.downloaded_bytes == downloading.facts.download_bytes
    clip.engine.unload()
    voice.engine.unload()


async def test_a_hub_that_is_gone_keeps_nobody_from_what_is_on_disk(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Embedding("clip", FROM_HUB)
    expected = await first.embed_texts(["a red circle"])
    first.engine.unload()
    hub.answers.clear()
    monkeypatch.setattr(checkpoints, "_HUB_SECONDS", 0.2)
    before = len(hub.asked)
    again = Embedding("clip", FROM_HUB)
    np.testing.assert_allclose(await again.embed_texts(["a red circle"]), expected, atol=1e-5)
    assert len(hub.asked) == before + 1  # it is asked once, before the turn to load
    again.engine.unload()


async def test_a_checkpoint_that_cannot_be_had_is_an_error_and_is_tried_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.answers.clear()
    with monkeypatch.context() as impatient:
        impatient.setattr(checkpoints, "_HUB_SECONDS", 0.2)
        clip = Embedding("clip", FROM_HUB)
        with pytest.raises(CheckpointError, match="test/clip"):
            await clip.ready()
    hub.answers.set()
    clip._next_try = 0.0
    await clip.ready()
    clip.engine.unload()


def test_what_is_there_already_is_not_downloaded_again(hub: Hub) -> None:
    assert download(hub_sources(FROM_HUB), lambda *_: None)
    before = len(hub.asked)
    assert download(hub_sources(FROM_HUB), lambda *_: None)
    assert len(hub.asked) == before + 1


@pytest.mark.parametrize(
    ("names", "components", "chosen"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], None, ["config.json", "model.safetensors"]),
        (["config.json", "pytorch_model.bin"], None, ["config.json", "pytorch_model.bin"]),
        (["config.json", "onnx/model.onnx", "onnx/config.json", "README.md"], None, ["config.json"]),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            None,
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (
            [
                "flux1-schnell.safetensors",
                "model_index.json",
                "transformer/config.json",
                "transformer/diffusion_pytorch_model.fp16.safetensors",
                "transformer/diffusion_pytorch_model.safetensors",
                "tokenizer/spiece.model",
                "safety_checker/model.safetensors",
            ],
            ["transformer", "tokenizer"],
            [
                "model_index.json",
                "tokenizer/spiece.model",
                "transformer/config.json",
                "transformer/diffusion_pytorch_model.safetensors",
            ],
        ),
    ],
)
def test_what_libraries_load_is_chosen(names: list[str], components: list[str] | None, chosen: list[str]) -> None:
    assert checkpoints.chosen_files(names, components) == chosen


def test_of_a_text_embedder_what_its_modules_say_is_chosen_too() -> None:
    names = ["config.json", "model.safetensors", "modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"]
    others = ["onnx/model.onnx", "onnx/config.json", "2_Dense/pytorch_model.bin"]
    assert checkpoints.chosen_files([*names, *others]) == ["config.json", "model.safetensors", "modules.json"]
    assert checkpoints.module_files([*names, *others], ["1_Pooling", "2_Dense"]) == names[3:]


def test_a_variant_is_chosen_where_it_exists_and_weights_that_are_replaced_are_not() -> None:
    names = [
        "model_index.json",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "text_encoder/model.safetensors",
        "transformer/config.json",
        "transformer/model.safetensors",
        "vae/model.safetensors",
    ]
    assert checkpoints.chosen_files(names, ["text_encoder", "transformer", "vae"], "fp16", ["transformer"]) == [
        "model_index.json",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "transformer/config.json",
        "vae/model.safetensors",
    ]
