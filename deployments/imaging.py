"""Pictures: one image model."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal

from deployments.replica import IsCancelled, ModelReplica
from models.errors import Cancelled
from models.image.engine import ImageEngine, Step
from models.picture_parameters import parameters_of
from models.pictures import encode
from models.tasks import ImageJob

OutputFormat = Literal["png", "jpeg", "webp"]

_PROGRESS_SECONDS: Final = 0.5
"""Progress is reported at most this often, so that reports do not slow small pictures."""
_PREVIEW_SECONDS: Final = 2.0
_PREVIEW_SIDE: Final = 256


@dataclass(frozen=True)
class Output:
    """How pictures are encoded; `quality` 0-100 is for JPEG and WebP. `partials` previews are sent of each picture.

    With `embeds`, the finished ones carry the parameters that they were made of.
    """

    format: OutputFormat = "png"
    quality: int = 100
    partials: int = 0
    embeds: bool = False


@dataclass(frozen=True)
class Progress:
    """Steps done of all the job's steps; `preview` is a small JPEG now and then."""

    done: int
    total: int
    preview: bytes | None = None


@dataclass(frozen=True)
class Partial:
    """What picture `picture` looks like midway, encoded in the size and format of the result."""

    picture: int
    index: int
    data: bytes


@dataclass(frozen=True)
class FinishedImage:
    """One made picture, encoded, and the seed that gives it again."""

    data: bytes
    seed: int


ImageEvent = Progress | Partial | FinishedImage


class Imaging(ModelReplica[ImageEngine]):
    """Makes and changes pictures."""

    async def generate(self, job: ImageJob, output: Output) -> AsyncGenerator[ImageEvent, None]:
        """Progress and partial pictures as they come, then the job's pictures in order."""

        def work(is_cancelled: IsCancelled, tell: Callable[[ImageEvent], None]) -> None:
            reporter = _Reporter(job, output, is_cancelled, tell)
            for seed, picture in enumerate(self.engine.stream(job, reporter), job.seed):
                if is_cancelled():
                    raise Cancelled
                made_of = parameters_of(job, seed, self.alias, self.engine.entry.checkpoint) if output.embeds else None
                tell(FinishedImage(encode(picture, output.format, output.quality, made_of), seed))

        with self.presence.in_use():
            async with aclosing(self.listen(work)) as events:
                async for event in events:
                    yield event


class _Reporter:
    """The engine's step callback: reports progress now and then, and partial pictures at even distances."""

    def __init__(
        self, job: ImageJob, output: Output, is_cancelled: IsCancelled, tell: Callable[[ImageEvent], None]
    ) -> None:
        self._job, self._output, self._is_cancelled, self._tell = job, output, is_cancelled, tell
        self._partials, self._share = 0, 0.0
        self._reported_at = self._previewed_at = time.monotonic()
        tell(Progress(0, job.steps * job.n))

    def __call__(self, step: Step) -> None:
        if self._is_cancelled():
            raise Cancelled
        if self._output.partials:
            self._report_partials(step)
        now = time.monotonic()
        if now - self._reported_at < _PROGRESS_SECONDS or step.done == step.total:
            return
        self._reported_at = now
        preview = None
        if now - self._previewed_at >= _PREVIEW_SECONDS:
            preview = self._preview(step)
            self._previewed_at = time.monotonic()
        self._tell(Progress(step.done, step.total, preview))

    def _report_partials(self, step: Step) -> None:
        if step.share < self._share:
            self._partials = 0  # the job's next pictures begin, or the same ones again in a smaller batch
        self._share = step.share
        if step.share == 1:
            return
        due = min(self._output.partials, int(step.share * (self._output.partials + 1)))
        seen = step.peek() if due > self._partials else []
        for number, picture in seen:
            shown = picture.resize((self._job.width, self._job.height))
            self._tell(Partial(number, self._partials, encode(shown, self._output.format, self._output.quality)))
        self._partials += bool(seen)

    def _preview(self, step: Step) -> bytes | None:
        seen = step.peek()
        if not seen:
            return None
        _, picture = seen[0]
        picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        return encode(picture, "jpeg", 80)
