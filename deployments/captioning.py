"""Captions: one prefix-type captioner, whose callers share its forwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.batches import Batcher, HaveLeft
from deployments.replica import ModelReplica
from models.caption.engine import CaptionEngine
from models.entry import ModelEntry
from models.errors import Cancelled
from models.pictures import open_picture


@dataclass(frozen=True)
class _CaptionRequest:
    """A caller's encoded pictures, by the names that errors use for them."""

    images: Mapping[str, bytes]
    prefix: str | None


class Captioning(ModelReplica[CaptionEngine]):
    """Captions pictures."""

    def __init__(self, alias: str, entry: ModelEntry, capacity: int = 0) -> None:
        super().__init__(alias, entry, capacity)
        self._batches = Batcher(self._captions, self._fits)

    async def caption(self, images: Mapping[str, bytes], prefix: str | None = None) -> list[str]:
        """One caption per encoded picture, in order; with those of other callers in as few forwards as fit.

        Raises:
            InvalidImage: one of them is not a picture that we read, by its name.
        """
        with self.presence.in_use():
            return await self._batches.ask(_CaptionRequest(images, prefix))

    def _fits(self, taken: list[_CaptionRequest], more: _CaptionRequest) -> bool:
        pictures = sum(len(request.images) for request in (*taken, more))
        return more.prefix == taken[0].prefix and pictures <= self.engine.max_batch

    async def _captions(self, batch: list[_CaptionRequest], have_left: HaveLeft) -> list[list[str]]:
        def work() -> list[list[str]]:
            if have_left():
                raise Cancelled
            images = [open_picture(image, name) for request in batch for name, image in request.images.items()]
            captions = iter(self.engine.caption(images, batch[0].prefix, have_left))
            return [[next(captions) for _ in request.images] for request in batch]

        return await self.run(lambda _: work())
