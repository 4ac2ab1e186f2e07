"""Making and changing pictures: the OpenAI routes, and the older ones that give PNG bytes or keep them in the store."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.imaging import FinishedImage, Partial
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import envelope, from_exception, invalid
from deployments.ingress.openapi import accepts
from deployments.ingress.policy import policy
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import Picture, read_picture
from deployments.ingress.responses.base64_json import with_base64
from deployments.ingress.responses.sse import EventStream, StartedStream, started
from deployments.ingress.schemas.images import (
    ALIASES,
    MAX_IMAGES,
    OLD_ALIASES,
    Edit,
    Generation,
    OnePicture,
    StoredPicture,
    Variation,
)
from deployments.ingress.services.image_jobs import image_job, make, make_all, size_like
from deployments.ingress.services.jobs import Job
from deployments.ingress.services.object_keys import image_key
from deployments.ingress.services.retention import GENERATED
from deployments.states import JobState
from models.tasks import ImageJob

router = APIRouter(tags=["images"])

_TITLED_SIZE: Final = (768, 1152)

ImageBody = Generation | Edit | Variation


@router.post("/v1/images/generations", summary="Make pictures", openapi_extra=accepts(Generation, forms=True))
async def generations(request: Request, atelier: AtelierDep) -> Response:
    """Pictures from a prompt, as the OpenAI SDKs ask for them."""
    params = await body.read(request, Generation, aliases=ALIASES)
    _refuse_unsupported(params)
    return await _answer(request, atelier, params, params.prompt, [], None)


@router.post("/v1/images/edits", summary="Change pictures", openapi_extra=accepts(Edit, forms=True))
async def edits(request: Request, atelier: AtelierDep) -> Response:
    """A picture changed by an instruction, by `strength`, or where `mask` lets it."""
    settings = atelier.settings
    params = await body.read(request, Edit, max_bytes=MAX_IMAGES * settings.image_max_bytes * 4 // 3, aliases=ALIASES)
    _refuse_unsupported(params)
    images = [await read_picture(source, settings, "image") for source in params.sources]
    mask = None if params.mask is None else await read_picture(params.mask, settings, "mask")
    if mask is not None:
        _check_mask(mask, images[0])
    return await _answer(request, atelier, params, params.prompt, images, mask)


@router.post("/v1/images/variations", summary="Pictures like this one", openapi_extra=accepts(Variation, forms=True))
async def variations(request: Request, atelier: AtelierDep) -> Response:
    """Other pictures like the one given."""
    settings = atelier.settings
    params = await body.read(request, Variation, max_bytes=settings.image_max_bytes * 4 // 3, aliases=ALIASES)
    _refuse_unsupported(params)
    return await _answer(request, atelier, params, "", [await read_picture(params.image, settings, "image")], None)


@router.post("/v1/images/generate", summary="One picture as PNG", openapi_extra=accepts(OnePicture))
@policy(errors="detail inside")
async def generate(request: Request, atelier: AtelierDep) -> Response:
    """One PNG from a prompt, or from a title and a description; seed and prompt come back as headers."""
    params = await body.read(request, OnePicture, aliases=OLD_ALIASES)
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as work:
        made, headers = await _prompted(atelier, work, params)
    return Response(made.data, media_type="image/png", headers=headers)


@router.post("/v1/r2/images/generate", summary="One picture into the store", openapi_extra=accepts(StoredPicture))
@policy(errors="detail inside")
async def generate_stored(request: Request, atelier: AtelierDep) -> Response:
    """The same, kept in the store under a key."""
    settings = atelier.settings
    params = await body.read(request, StoredPicture, aliases=OLD_ALIASES)
    if params.key is None:
        key, write = f"{settings.image_prefix}{GENERATED}{uuid.uuid4()}.png", atelier.objects.write_new
    else:
        key, write = image_key(params.key, settings), atelier.objects.write
        await atelier.objects.check_writable(request, key)
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as work:
        made, headers = await _prompted(atelier, work, params)
        await write(request, key, made.data)
    return JSONResponse({"key": key}, headers=headers)


async def _prompted(atelier: Atelier, work: Job, params: OnePicture) -> tuple[FinishedImage, dict[str, str]]:
    entry = atelier.models.entries[work.model]
    defaults = entry.image
    default_size = (defaults.width, defaults.height) if params.titled is None else _TITLED_SIZE
    job = image_job(params, entry, default_size, params.prompt or "")
    headers = {}
    if titled := params.titled:
        written = await work.unless_cancelled(lambda: atelier.prompt_writer.write(*titled))
        job = replace(job, prompt=written.prompt)
        headers["X-Prompt-Writer"] = written.source
    (made,) = await make_all(atelier.models, work, job)
    return made, {**headers, "X-Seed": str(made.seed), "X-Prompt": quote(job.prompt)}


async def _answer(
    request: Request, atelier: Atelier, params: ImageBody, prompt: str, images: list[Picture], mask: Picture | None
) -> Response:
    """What the three OpenAI routes have in common: the job, and its pictures whole or streamed."""
    alias = atelier.models.resolve(params.model, ["image"])
    entry = atelier.models.entries[alias]
    if not images:
        default_size = (entry.image.width, entry.image.height)
    elif mask is None or params.says_size:
        default_size = size_like(images[0])
    else:  # what may not change comes back pixel for pixel
        default_size = (images[0].width, images[0].height)
    job = image_job(params, entry, default_size, prompt, images, mask, is_variation=isinstance(params, Variation))
    formats = _response_formats(params, is_form=request.state.is_form)
    if "url" in formats and not params.stream:
        await atelier.publishing.check()
    response_fields = _response_fields(params, job)
    if params.stream:
        return await _streamed(request, atelier, alias, job, params, response_fields)
    begun = time.monotonic()
    items: list[dict[str, Any]] = []
    async with atelier.jobs.working(request, alias) as work:
        made = await make_all(atelier.models, work, job, params.output_format, params.output_compression)
        for picture in made:
            item: dict[str, Any] = {"revised_prompt": prompt, "seed": picture.seed}
            if "url" in formats:
                item["url"] = await atelier.publishing.publish(request, picture.data, params.output_format)
            items.append(item)
    usage = {**_USAGE, "latency": round(time.monotonic() - begun, 3), "seed": job.seed}
    answer = {"created": int(time.time()), "data": items, **response_fields, "model": alias, "usage": usage}
    if "b64_json" not in formats:
        return JSONResponse(answer)
    pictures = [picture.data for picture in made]
    return Response(await with_base64(answer, items, "b64_json", pictures), media_type="application/json")


_USAGE: Final = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}


def _response_formats(params: ImageBody, *, is_form: bool) -> set[str]:
    """How pictures come, where a caller does not say as what that model's own clients read.

    Those of OpenAI's newer models know base64 only, and may refuse a URL of a private address; those of DALL-E read
    `url`; the SDKs send each edit as a form and read base64, where older clients that send forms read `url`.
    """
    if params.response_format is not None:
        return {params.response_format}
    name = (params.model or "").rpartition("/")[2]
    if name.startswith(("gpt-image-", "chatgpt-image-")):
        return {"b64_json"}
    return {"b64_json", "url"} if is_form or name.startswith("dall-e-") else {"b64_json"}


def _response_fields(params: ImageBody, job: ImageJob) -> dict[str, str]:
    """What answers and events say of the pictures."""
    return {
        "background": "opaque",
        "output_format": params.output_format,
        "quality": params.quality,
        "size": f"{job.width}x{job.height}",
    }


async def _streamed(
    request: Request, atelier: Atelier, alias: str, job: ImageJob, params: ImageBody, response_fields: dict[str, str]
) -> Response:
    """The pictures as server-sent events. A refusal still becomes a status, where it comes within a few seconds."""
    pieces = _pieces(request, atelier, alias, job, params)
    stream = await started(pieces)
    family: Literal["image_edit", "image_generation"] = (
        "image_generation" if isinstance(params, Generation) else "image_edit"
    )
    return EventStream(_events(family, stream, response_fields, job.seed), stream)


async def _pieces(
    request: Request, atelier: Atelier, alias: str, job: ImageJob, params: ImageBody
) -> AsyncGenerator[Partial | FinishedImage, None]:
    jobs = atelier.jobs
    left = job.n
    async with jobs.working(request, alias) as work:
        made = make(atelier.models, work, job, params.output_format, params.output_compression, params.partial_images)
        async with aclosing(made) as pieces:
            async for piece in pieces:
                left -= isinstance(piece, FinishedImage)
                if not left:  # who has the last picture need not wait for the end of the stream
                    jobs.end(work, JobState.DONE)
                yield piece


async def _events(
    family: str,
    pieces: StartedStream[Partial | FinishedImage],
    response_fields: dict[str, str],
    seed: int,
) -> AsyncIterator[dict[str, str]]:
    async def event(piece: Partial | FinishedImage) -> dict[str, str]:
        fields: dict[str, Any] = {"created_at": int(time.time()), **response_fields}
        if isinstance(piece, Partial):
            name = f"{family}.partial_image"
            fields |= {"partial_image_index": piece.index, "image_index": piece.picture}
        else:
            name = f"{family}.completed"
            fields |= {"image_index": piece.seed - seed, "seed": piece.seed, "usage": _USAGE}
        item = {"type": name, **fields}
        return {"event": name, "data": (await with_base64(item, [item], "b64_json", [piece.data])).decode()}

    try:
        async for piece in pieces:
            yield await event(piece)
    except Exception as error:  # noqa: BLE001 - the status has been sent, so every failure has to be an event
        yield {"event": "error", "data": json.dumps({"type": "error", **envelope(from_exception(error))})}


def _refuse_unsupported(params: ImageBody) -> None:
    if params.partial_images and not params.stream:
        raise invalid("partial_images", "partial_images: they are sent only with stream: true")
    if params.stream and params.response_format == "url":
        raise invalid("response_format", "response_format: streamed pictures come as b64_json")
    if params.background == "transparent":
        raise invalid("background", "background: this model makes opaque pictures only; allowed: auto, opaque")
    if params.output_compression != 100 and params.output_format == "png":
        raise invalid("output_compression", "output_compression is for jpeg and webp only")


def _check_mask(mask: Picture, image: Picture) -> None:
    if (mask.width, mask.height) != (image.width, image.height):
        raise invalid(
            "mask",
            f"mask: {mask.width}x{mask.height} pixels where the image has {image.width}x{image.height}; "
            "both must be of one size",
        )
