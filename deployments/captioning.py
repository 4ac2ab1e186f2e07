"""Captions: one prefix-type captioner."""

from __future__ import annotations

from deployments.replica import ModelReplica
from models.engine import CaptionEngine
from models.pictures import open_picture


class Captioning(ModelReplica[CaptionEngine]):
    """Captions pictures."""

    async def caption(self, images: list[bytes], prefix: str | None = None) -> list[str]:
        """One caption per encoded picture, in order; all in as few forwards as the engine likes."""
        return await self.run(lambda _: self.engine.caption([open_picture(image) for image in images], prefix))
