"""Image captioning (API.md 3B)."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request

from deployments.ingress import body, uploads
from deployments.ingress.docs import multipart
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.roster import Roster
from deployments.ingress.tags import tags_of
from models.errors import InvalidImage
from models.pictures import sniff
from models.tasks import ChatJob, ImagePart, Message, TextPart

router = APIRouter(prefix="/api", tags=["captions"])
logger = logging.getLogger("ray.serve")

_MAX_IMAGES = 32
_TYPES = ("JPEG", "PNG", "WEBP")
_CHAT_PROMPT = "Describe this image in one short sentence."
_MAX_TOKENS = 128


class CaptionQuery(body.Fields):
    """Query of `POST /api/caption-images`."""

    model: str | None = Field(None, description="alias of a captioner or a chat model")
    caption_prompt: str | None = Field(None, max_length=4000)
    flag_caption_prompt: str | None = Field(None, max_length=4000)


class CaptionFiles(body.Fields):
    """Body of `POST /api/caption-images`."""

    images: list[body.Upload] = Field(min_length=1, max_length=_MAX_IMAGES)


@router.post(
    "/caption-images", summary="Caption pictures", openapi_extra=multipart({"images": "1 to 32 pictures, repeated"})
)
async def caption_images(request: Request) -> dict[str, Any]:
    """A caption, its keywords and a yes/no for each picture, in input order."""
    atelier = request.app.state.atelier
    asked = body.query(request, CaptionQuery)
    room = _MAX_IMAGES * atelier.settings.image_max_bytes
    files = (await body.read(request, CaptionFiles, max_bytes=room)).images
    roster: Roster = atelier.models
    alias = roster.resolve(asked.model or None, ["captioner", "vlm"])
    images = [await _checked(request, i, file) for i, file in enumerate(files)]
    if roster.entries[alias].kind == "captioner":
        captions: list[str] = await roster.call(alias, "caption", images, asked.caption_prompt)
        flags = [False] * len(images)
    else:
        question = asked.caption_prompt or _CHAT_PROMPT
        captions = await _ask_each(roster, alias, images, question)
        flags = [False] * len(images)
        if asked.flag_caption_prompt:
            answers = await _ask_each(roster, alias, images, asked.flag_caption_prompt)
            flags = [_is_yes(answer, alias) for answer in answers]
    tags = await asyncio.to_thread(lambda: [tags_of(caption) for caption in captions])
    return {
        "results": [
            {"filename": file.filename, "caption": caption, "tags": words, "flagged": flag, "cache": False}
            for file, caption, words, flag in zip(files, captions, tags, flags, strict=True)
        ]
    }


async def _checked(request: Request, index: int, file: body.Upload) -> bytes:
    param = f"images[{index}]"
    if not file.data:
        raise invalid(param, f"{param}: the file is empty", "invalid_image")
    try:
        name = sniff(file.data, param, sys.maxsize)[0]  # too many pixels are another fault than a wrong type
    except InvalidImage:
        name = None
    if name not in _TYPES:
        raise ApiError(415, f"{param}: not a JPEG, PNG or WebP image", code="unsupported_media_type", param=param)
    return await uploads.check_picture(file.data, request.app.state.atelier.settings, param)


async def _ask_each(roster: Roster, alias: str, images: list[bytes], question: str) -> list[str]:
    """An answer per picture, in order; the first failure ends the work on the others."""
    asking = [asyncio.ensure_future(_ask(roster, alias, image, question)) for image in images]
    try:
        return await asyncio.gather(*asking)
    finally:
        for each in asking:
            each.cancel()


async def _ask(roster: Roster, alias: str, image: bytes, question: str) -> str:
    message = Message("user", (ImagePart(image), TextPart(question)))
    answer = await roster.call(alias, "chat", ChatJob((message,), max_tokens=_MAX_TOKENS))
    text: str = answer.text.strip()
    return text


def _is_yes(answer: str, alias: str) -> bool:
    """A real boolean from the model's words; what is neither yes nor no counts as no, and is logged."""
    word = re.search(r"\w+", answer.lower())
    first = word[0] if word else ""
    if first in ("yes", "true", "네", "예", "はい"):
        return True
    if first not in ("no", "false", "아니요", "아니오", "いいえ"):
        logger.warning("%s answered neither yes nor no to a flag prompt: %.80r", alias, answer)
    return False
