"""Questions and their answers."""

from __future__ import annotations

from typing import Any

from PIL import Image

from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.engines.vlm_mlx import MlxVlmEngine
from models.entry import ModelEntry
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, Usage

QUESTION = "What colour is the background?"


def entry(engine: str, checkpoint: str = "builtin:vlm", **more: object) -> ModelEntry:
    return ModelEntry.model_validate(
        {"engine": engine, "checkpoint": checkpoint, "device": "cpu", "threads": 1, **more}
    )


def plain(colour: str, size: tuple[int, int] = (64, 64)) -> ImagePart:
    return ImagePart(encode(Image.new("RGB", size, colour)))


def message(role: Any, *parts: str | ImagePart) -> Message:
    return Message(role, tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def ask(*parts: str | ImagePart, **options: Any) -> ChatJob:
    return ChatJob((message("user", *parts),), **options)


def deltas(engine: MlxVlmEngine, job: ChatJob) -> list[ChatDelta]:
    return list(engine.stream(job, lambda: False))


def answer(engine: MlxVlmEngine | TransformersVlmEngine, job: ChatJob) -> str:
    return "".join(delta.text for delta in engine.stream(job, lambda: False))


def usage(engine: MlxVlmEngine | TransformersVlmEngine, *messages: Message) -> Usage:
    found = list(engine.stream(ChatJob(messages, max_tokens=1), lambda: False))[-1].usage
    assert found is not None
    return found
