"""From a route's body to pictures: the model's job, its pictures and its progress meanwhile."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Final

from deployments.imaging import FinishedImage, ImageEvent, Output, Partial, Progress
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import invalid
from deployments.ingress.requests.pictures import Picture
from deployments.ingress.schemas.images import ALIASES, MAX_N, MAX_SEED, Drawing
from deployments.ingress.services.jobs import Job
from models.catalog import refuse_impossible
from models.entry import ModelEntry
from models.tasks import ImageJob, LoraUse

MIN_SIDE: Final = 64
MAX_SIDE: Final = 2048
MAX_PIXELS: Final = 4_194_304
STEPS_BY_QUALITY: Final = {"low": 0.5, "medium": 1.0, "high": 1.5, "xhigh": 2.0, "max": 2.0}


def image_job(
    params: Drawing,
    entry: ModelEntry,
    default_size: tuple[int, int],
    prompt: str,
    images: Sequence[Picture] = (),
    mask: Picture | None = None,
    *,
    is_variation: bool = False,
) -> ImageJob:
    """The job of a route's body, checked against the model's limits and abilities before anything is queued.

    What the body says of how a picture is drawn it calls as `ImageJob` does, or by one of the `ALIASES`; where it says
    nothing, the model's own default holds.

    Raises:
        ApiError: 400 naming `size`, `width`, `height`, `seed`, `n` or `loras[i].name`.
        InvalidInput: the model cannot do that.
    """
    defaults = entry.image
    width, height = size_of(params.size, params.width, params.height, default_size)
    named = {ALIASES.get(name, name): getattr(params, name) for name in type(params).model_fields}
    said = {name: value for name, value in named.items() if value is not None}
    steps = math.ceil(defaults.steps * STEPS_BY_QUALITY[said.get("quality", "medium")])
    job = ImageJob(
        prompt=prompt,
        width=width,
        height=height,
        steps=said.get("steps", steps),
        guidance=said.get("guidance", defaults.guidance),
        seed=said.get("seed", secrets.randbelow(MAX_SEED - MAX_N)),
        n=said.get("n", 1),
        negative_prompt=said.get("negative_prompt"),
        images=tuple(picture.data for picture in images),
        mask=None if mask is None else mask.data,
        strength=said.get("strength"),
        is_variation=is_variation,
        loras=tuple(LoraUse(lora.name, lora.weight) for lora in said.get("loras", ())),
    )
    _check_limits(job, entry)
    refuse_impossible(entry, job)  # looks at the disk for a moment, which takes less than another thread would
    return job


def _check_limits(job: ImageJob, entry: ModelEntry) -> None:
    if job.seed + job.n - 1 > MAX_SEED:
        raise invalid("seed", f"seed: {job.seed} + n - 1 is larger than {MAX_SEED}")
    # a masked photograph may be larger than what is drawn of it
    if min(job.width * job.height, MAX_PIXELS) * job.n > entry.image.max_pixels:
        param = "n" if job.n > 1 else "size" if job.mask is None else "image"
        message = f"{param}: {job.n} x {job.width}x{job.height} pixels; at most {entry.image.max_pixels} in one request"
        raise invalid(param, message)
    configured = tuple(entry.options.get("loras", {}))
    for i, lora in enumerate(job.loras):
        where = f"loras[{i}].name"
        if lora.name not in configured:
            there = ", ".join(configured) or "none"
            raise invalid(where, f"{where}: {lora.name!r} is not configured; there are: {there}")
        if lora.name in [other.name for other in job.loras[:i]]:
            raise invalid(where, f"{where}: {lora.name!r} is named twice")


async def follow(models: ModelCalls, work: Job, job: ImageJob, output: Output) -> AsyncGenerator[ImageEvent, None]:
    """Progress and partial pictures as they come and the job's pictures in order; `work` takes note of all.

    Raises:
        ApiError: what `ModelCalls.stream` raises, and 400 `cancelled`.
    """
    events = models.images(work.model).generate(job, output)
    async with aclosing(_until_cancelled(work, events)) as pieces:
        async for piece in pieces:
            work.note(piece)
            yield piece


async def make(
    models: ModelCalls, work: Job, job: ImageJob, output: Output
) -> AsyncGenerator[Partial | FinishedImage, None]:
    """The same without the progress. Raises as `follow` does."""
    async with aclosing(follow(models, work, job, output)) as pieces:
        async for piece in pieces:
            if not isinstance(piece, Progress):
                yield piece


async def _until_cancelled(work: Job, events: AsyncGenerator[ImageEvent, None]) -> AsyncGenerator[ImageEvent, None]:
    async with aclosing(events):
        with suppress(StopAsyncIteration):
            while True:
                yield await work.unless_cancelled(lambda: anext(events))


_PNG: Final = Output()


async def make_all(models: ModelCalls, work: Job, job: ImageJob, output: Output = _PNG) -> list[FinishedImage]:
    """The job's pictures, in order. Raises as `make` does."""
    async with aclosing(make(models, work, job, output)) as pieces:
        return [piece async for piece in pieces if isinstance(piece, FinishedImage)]


def size_of(size: str, width: int | None, height: int | None, otherwise: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels from whichever way they were said; `otherwise` where they were not.

    Raises:
        ApiError: 400 naming `size`, `width` or `height`.
    """
    if size == "auto":
        wide, high = (usual if said is None else said for said, usual in zip((width, height), otherwise, strict=True))
        names = ("width", "height")
        if width is None and height is None:
            return wide, high
    else:
        match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", size)
        if match is None:
            raise invalid("size", f"size: {size[:40]!r} is neither `auto` nor WIDTHxHEIGHT, such as 512x512")
        wide, high = int(match[1]), int(match[2])
        names = ("size", "size")
        if width not in (None, wide) or height not in (None, high):
            raise invalid("size", f"size {size} and width x height {width}x{height} disagree; give one of them")
    for name, pixels in zip(names, (wide, high), strict=True):
        if not MIN_SIDE <= pixels <= MAX_SIDE or pixels % 16:
            raise invalid(name, f"{name}: {pixels} is not a multiple of 16 from {MIN_SIDE} to {MAX_SIDE}")
    if wide * high > MAX_PIXELS:
        raise invalid(names[0], f"{names[0]}: {wide}x{high} is more than {MAX_PIXELS} pixels")
    return wide, high


def size_like(picture: Picture) -> tuple[int, int]:
    """The size of a changed picture where none is asked for: the picture's own, rounded to 16 and within the limits."""
    scale = min(
        1.0,
        MAX_SIDE / max(picture.width, picture.height),
        math.sqrt(MAX_PIXELS / (picture.width * picture.height)),
    )
    scale = max(scale, MIN_SIDE / min(picture.width, picture.height))
    width, height = (
        min(MAX_SIDE, max(MIN_SIDE, round(side * scale / 16) * 16)) for side in (picture.width, picture.height)
    )
    return width, height
