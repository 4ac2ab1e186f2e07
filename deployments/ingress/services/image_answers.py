"""What is said of pictures: an answer when all are made, and events as they come (docs/http-api.md)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from deployments.imaging import FinishedImage, Output, Partial
from deployments.ingress.errors import envelope, from_exception
from deployments.ingress.responses.base64_json import with_base64
from models.tasks import ImageJob

ResponseFormat = Literal["b64_json", "url"]

_USAGE: Final = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


@dataclass(frozen=True)
class AskedPictures:
    """A request for pictures: what is to be made, and what is said of it. `quality` is what the caller called so."""

    alias: str
    job: ImageJob
    output: Output
    quality: str
    formats: frozenset[ResponseFormat]
    family: Literal["image_generation", "image_edit"]

    @property
    def fields(self) -> dict[str, Any]:
        """What answers and events alike say of the pictures."""
        return {
            "background": "opaque",
            "output_format": self.output.format,
            "quality": self.quality,
            "size": f"{self.job.width}x{self.job.height}",
        }

    def without_pictures(self) -> AskedPictures:
        """The same without what the caller sent, once that is not needed any more."""
        return replace(self, job=replace(self.job, images=(), mask=None))

    def answer(self, made: Sequence[FinishedImage], urls: Sequence[str], seconds: float) -> PictureAnswer:
        """The answer when all are made, which took so long; `urls` of each, where they were wanted."""
        items: list[dict[str, Any]] = [{"revised_prompt": self.job.prompt, "seed": each.seed} for each in made]
        for item, url in zip(items, urls, strict=False):
            item["url"] = url
        usage = {**_USAGE, "latency": round(seconds, 3), "seed": self.job.seed}
        fields = {**self.fields, "model": self.alias, "usage": usage}
        pictures = [each.data for each in made] if "b64_json" in self.formats else []
        return PictureAnswer(int(time.time()), items, fields, pictures)

    async def events(self, pieces: AsyncIterator[Partial | FinishedImage]) -> AsyncIterator[dict[str, str]]:
        """The pictures as server-sent events; a failure becomes the last one."""
        try:
            async for piece in pieces:
                yield await self._event(piece)
        except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
            yield {"event": "error", "data": json.dumps({"type": "error", **envelope(from_exception(error))})}

    async def _event(self, piece: Partial | FinishedImage) -> dict[str, str]:
        fields: dict[str, Any] = {"created_at": int(time.time()), **self.fields}
        if isinstance(piece, Partial):
            name = f"{self.family}.partial_image"
            fields |= {"partial_image_index": piece.index, "image_index": piece.picture}
        else:
            name = f"{self.family}.completed"
            fields |= {"image_index": piece.seed - self.job.seed, "seed": piece.seed, "usage": _USAGE}
        item = {"type": name, **fields}
        return {"event": name, "data": (await with_base64(item, [item], "b64_json", [piece.data])).decode()}


@dataclass(frozen=True)
class PictureAnswer:
    """The answer of the picture routes; `pictures` where they come as base64."""

    created: int
    items: list[dict[str, Any]]
    fields: dict[str, Any]
    pictures: list[bytes]

    async def body(self, around: dict[str, Any] | None = None) -> bytes:
        """Its JSON; with `around`, that of this object with the answer as its `result`."""
        items = [dict(item) for item in self.items]
        answer: dict[str, Any] = {"created": self.created, "data": items, **self.fields}
        whole = answer if around is None else {**around, "result": answer}
        if not self.pictures:
            return json.dumps(whole, separators=(",", ":")).encode()
        return await with_base64(whole, items, "b64_json", self.pictures)
