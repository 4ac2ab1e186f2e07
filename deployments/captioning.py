"""Captions: one prefix-type captioner."""

from __future__ import annotations

from deployments.replica import IsCancelled, ModelReplica
from models.engine import CaptionEngine
from models.pictures import open_picture


class Captioning(ModelReplica[CaptionEngine]):
    """Captions pictures."""

    async def caption(self, images: list[bytes], prefix: str | None = None) -> list[str]:
        """One caption per encoded picture, in order; all in as few forwards as the engine likes."""

        def work(is_cancelled: IsCancelled) -> list[str]:
            return self.engine.caption([open_picture(image) for image in images], prefix, is_cancelled)

        return await self.run(work)
