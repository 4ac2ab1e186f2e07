"""Engines of an upstream, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from models.catalog import create_engine
from models.chat.engines.upstream import UpstreamEngine
from models.entry import ModelEntry
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart

KEY = "a-secret-key-of-the-upstream"


def entry(base_url: str, model: str = "vlm-fast", **options: Any) -> ModelEntry:
    return ModelEntry.model_validate(
        {"engine": "upstream", "checkpoint": model, "options": {"base_url": base_url, **options}}
    )


@contextmanager
def loaded(base_url: str, **options: Any) -> Iterator[UpstreamEngine]:
    engine = create_engine(entry(base_url, **options))
    assert isinstance(engine, UpstreamEngine)
    engine.load()
    try:
        yield engine
    finally:
        engine.unload()


def user(*parts: str | Image.Image) -> Message:
    return Message("user", tuple(TextPart(p) if isinstance(p, str) else ImagePart(encode(p)) for p in parts))


def deltas(engine: UpstreamEngine, job: ChatJob) -> list[ChatDelta]:
    return list(engine.stream(job, lambda: False))


def ask(*parts: str | Image.Image, **options: Any) -> ChatJob:
    return ChatJob((user(*parts),), **options)
