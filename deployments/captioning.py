"""Captions: one prefix-type captioner, whose callers share its forwards.

`serve.batch` would hold a lone request back to wait for company, and would put a caller who left and one whose picture
fails into the same pot as the others. Here nobody waits on purpose: what arrives while the engine works goes next.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from deployments.replica import IsCancelled, ModelReplica
from models.catalog import ModelEntry
from models.engine import CaptionEngine
from models.errors import Cancelled
from models.pictures import open_picture


@dataclass(eq=False)
class _Call:
    """A caller's pictures; `captions` is cancelled when the caller has left."""

    images: list[bytes]
    prefix: str | None
    captions: asyncio.Future[list[str]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    context: Context = field(default_factory=copy_context)


class Captioning(ModelReplica[CaptionEngine]):
    """Captions pictures."""

    def __init__(self, alias: str, entry: ModelEntry) -> None:
        super().__init__(alias, entry)
        self._waiting: list[_Call] = []
        self._working: asyncio.Task[None] | None = None

    async def caption(self, images: list[bytes], prefix: str | None = None) -> list[str]:
        """One caption per encoded picture, in order; with those of other callers in as few forwards as fit."""
        call = _Call(images, prefix)
        self._waiting.append(call)
        if self._working is None:
            self._work_on()
        return await call.captions

    def _work_on(self) -> None:
        """Begin with what waits, if anything does; its log line bears the id of the first request in it."""
        self._waiting = [call for call in self._waiting if not call.captions.done()]
        self._working = None
        if calls := self._next():
            self._working = calls[0].context.run(asyncio.create_task, self._tell(calls))
            self._working.add_done_callback(lambda _: self._work_on())

    def _next(self) -> list[_Call]:
        """The longest waiting call, and those with the same prefix that fit beside it; they no longer wait."""
        taken: list[_Call] = []
        for call in self._waiting:
            pictures = sum(len(each.images) for each in taken) + len(call.images)
            if not taken or (call.prefix == taken[0].prefix and pictures <= self.engine.max_batch):
                taken.append(call)
        self._waiting = [call for call in self._waiting if call not in taken]
        return taken

    async def _tell(self, calls: list[_Call]) -> None:
        """Caption the pictures of the calls together; where that fails, those of each call by themselves."""
        try:
            captions = await self._captions(calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the callers' to hear
            calls = [call for call in calls if not call.captions.done()]
            if len(calls) > 1:
                for call in calls:
                    await self._tell([call])
            elif calls:
                calls[0].captions.set_exception(error)
            return
        for call in calls:
            own, captions = captions[: len(call.images)], captions[len(call.images) :]
            if not call.captions.done():
                call.captions.set_result(own)

    async def _captions(self, calls: list[_Call]) -> list[str]:
        def work(is_cancelled: IsCancelled) -> list[str]:
            def all_have_left() -> bool:
                return is_cancelled() or all(call.captions.cancelled() for call in calls)

            if all_have_left():
                raise Cancelled
            images = [open_picture(image) for call in calls for image in call.images]
            return self.engine.caption(images, calls[0].prefix, all_have_left)

        return await self.run(work)
