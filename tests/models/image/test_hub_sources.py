"""What picture models and others take from the hub before they are loaded."""

from __future__ import annotations

from pathlib import Path

from models.catalog import hub_sources
from models.checkpoints import HubSource
from models.entry import ModelEntry


def test_a_picture_model_takes_redux_and_the_adapters_of_the_hub_too(tmp_path: Path) -> None:
    adapter = tmp_path / "mine.safetensors"
    adapter.touch()
    entry = ModelEntry(
        engine="diffusion",
        checkpoint="test/flux",
        revision="v1",
        options={
            "redux": "test/redux",
            "loras": {
                "mine": {"checkpoint": str(adapter)},
                "gone": {"checkpoint": "/nowhere/gone.safetensors"},
                "theirs": {"checkpoint": "test/lora", "weight_name": "a.safetensors", "revision": "v2"},
            },
            "loading": {"variant": "fp16", "gguf": "/models/flux.gguf"},
        },
    )
    assert hub_sources(entry) == [
        HubSource("test/flux", "v1", variant="fp16", replaced=("transformer",)),
        HubSource("test/redux"),
        HubSource("test/lora", "v2", file="a.safetensors"),
    ]


def test_an_engine_that_reads_folders_within_takes_the_whole_repository() -> None:
    assert hub_sources(ModelEntry(engine="qwen_tts", checkpoint="test/voice")) == [
        HubSource("test/voice", is_whole=True)
    ]
    assert hub_sources(ModelEntry(engine="clip", checkpoint="hf-hub:test/clip")) == [HubSource("test/clip")]


def test_what_is_on_disk_or_of_another_server_takes_nothing() -> None:
    assert hub_sources(ModelEntry(engine="clip", checkpoint="builtin:clip")) == []
    assert hub_sources(ModelEntry(engine="upstream", checkpoint="some/model")) == []
