"""Conversations and their answers."""

from __future__ import annotations

from PIL import Image

from models.chat.engine import ChatEngine
from models.pictures import encode
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart


def picture(colour: str) -> ImagePart:
    return ImagePart(encode(Image.new("RGB", (56, 56), colour)))


def user(*parts: str | ImagePart) -> Message:
    return Message("user", tuple(TextPart(part) if isinstance(part, str) else part for part in parts))


def assistant(text: str) -> Message:
    return Message("assistant", (TextPart(text),))


def system(text: str) -> Message:
    return Message("system", (TextPart(text),))


def chat(*messages: Message, max_tokens: int = 12, **options: object) -> ChatJob:
    return ChatJob(messages, max_tokens=max_tokens, **options)  # type: ignore[arg-type]


def deltas(engine: ChatEngine, job: ChatJob) -> list[ChatDelta]:
    return list(engine.stream(job, lambda: False))


def answer(engine: ChatEngine, job: ChatJob) -> str:
    return "".join(delta.text for delta in deltas(engine, job))


_COUNTED = {
    "type": "object",
    "properties": {"shape": {"enum": ["circle", "star"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["shape", "count"],
    "additionalProperties": False,
}
