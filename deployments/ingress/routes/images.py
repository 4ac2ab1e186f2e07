"""Making and changing pictures: the OpenAI routes, and the older ones that give PNG bytes or keep them in the store."""

from __future__ import annotations

import asyncio
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

from deployments.imaging import Made, Partial
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import envelope, from_exception, invalid
from deployments.ingress.openapi import accepts
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
    Prompted,
    StoredPrompted,
    Variation,
)
from deployments.ingress.services.image_jobs import image_request, make, make_all, plan, size_like
from deployments.ingress.services.jobs import Job
from deployments.ingress.services.object_keys import image_key
from deployments.ingress.services.retention import GENERATED
from models.pictures import repainted
from models.tasks import ImageJob

router = APIRouter(tags=["images"])

_TITLED_SIZE: Final = (768, 1152)

ImageBody = Generation | Edit | Variation


@router.post("/v1/images/generations", summary="Make pictures", openapi_extra=accepts(Generation, forms=True))
async def generations(request: Request, atelier: AtelierDep) -> Response:
    """Pictures from a prompt, as the OpenAI SDKs ask for them."""
    asked = await body.read(request, Generation, aliases=ALIASES)
    _refuse_unsupported(asked)
    return await _answer(request, atelier, asked, asked.prompt, [], None)


@router.post("/v1/images/edits", summary="Change pictures", openapi_extra=accepts(Edit, forms=True))
async def edits(request: Request, atelier: AtelierDep) -> Response:
    """A picture changed by an instruction, by `strength`, or where `mask` lets it."""
    settings = atelier.settings
    asked = await body.read(request, Edit, max_bytes=MAX_IMAGES * settings.image_max_bytes * 4 // 3, aliases=ALIASES)
    _refuse_unsupported(asked)
    images = [await read_picture(source, settings, "image") for source in asked.sources]
    mask = None if asked.mask is None else await read_picture(asked.mask, settings, "mask")
    if mask is not None:
        await asyncio.to_thread(_check_mask, mask, images[0])
    return await _answer(request, atelier, asked, asked.prompt, images, mask)


@router.post("/v1/images/variations", summary="Pictures like this one", openapi_extra=accepts(Variation, forms=True))
async def variations(request: Request, atelier: AtelierDep) -> Response:
    """Other pictures like the one given."""
    settings = atelier.settings
    asked = await body.read(request, Variation, max_bytes=settings.image_max_bytes * 4 // 3, aliases=ALIASES)
    _refuse_unsupported(asked)
    return await _answer(request, atelier, asked, "", [await read_picture(asked.image, settings, "image")], None)


@router.post("/v1/images/generate", summary="One picture as PNG", openapi_extra=accepts(Prompted))
async def generate(request: Request, atelier: AtelierDep) -> Response:
    """One PNG from a prompt, or from a title and a description; seed and prompt come back as headers."""
    asked = await body.read(request, Prompted, aliases=OLD_ALIASES)
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as listed:
        made, headers = await _prompted(atelier, listed, asked)
    return Response(made.data, media_type="image/png", headers=headers)


@router.post("/v1/r2/images/generate", summary="One picture into the store", openapi_extra=accepts(StoredPrompted))
async def generate_stored(request: Request, atelier: AtelierDep) -> Response:
    """The same, kept in the store under a key."""
    settings = atelier.settings
    asked = await body.read(request, StoredPrompted, aliases=OLD_ALIASES)
    if asked.key is None:
        key, write = f"{settings.image_prefix}{GENERATED}{uuid.uuid4()}.png", atelier.objects.write_new
    else:
        key, write = image_key(asked.key, settings), atelier.objects.write
        await atelier.objects.check_writable(request, key)
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as listed:
        made, headers = await _prompted(atelier, listed, asked)
        await write(request, key, made.data)
    return JSONResponse({"key": key}, headers=headers)


async def _prompted(atelier: Atelier, listed: Job, asked: Prompted) -> tuple[Made, dict[str, str]]:
    entry = atelier.models.entries[listed.model]
    defaults = entry.image
    default_size = (defaults.width, defaults.height) if asked.titled is None else _TITLED_SIZE
    wanted = image_request(asked, default_size, asked.prompt or "")
    headers = {}
    if titled := asked.titled:
        written = await listed.unless_cancelled(lambda: atelier.prompt_writer.write(*titled))
        wanted = replace(wanted, prompt=written.prompt)
        headers["X-Prompt-Writer"] = written.source
    (made,) = await make_all(atelier.models, listed, plan(wanted, entry))
    return made, {**headers, "X-Seed": str(made.seed), "X-Prompt": quote(wanted.prompt)}


async def _answer(
    request: Request, atelier: Atelier, asked: ImageBody, prompt: str, images: list[Picture], mask: Picture | None
) -> Response:
    """What the three OpenAI routes have in common: the job, and its pictures whole or streamed."""
    alias = atelier.models.resolve(asked.model, ["image"])
    entry = atelier.models.entries[alias]
    if not images:
        default_size = (entry.image.width, entry.image.height)
    elif mask is None or asked.says_size:
        default_size = size_like(images[0])
    else:  # what may not change comes back pixel for pixel
        default_size = (images[0].width, images[0].height)
    wanted = image_request(asked, default_size, prompt, images, mask, is_variation=isinstance(asked, Variation))
    job = plan(wanted, entry)
    formats = _response_formats(asked, is_form=request.state.is_form)
    if "url" in formats and not asked.stream:
        await atelier.publishing.check()
    response_fields = _response_fields(asked, job)
    if asked.stream:
        return await _streamed(request, atelier, alias, job, asked, response_fields)
    begun = time.monotonic()
    items: list[dict[str, Any]] = []
    async with atelier.jobs.working(request, alias) as listed:
        made = await make_all(atelier.models, listed, job, asked.output_format, asked.output_compression)
        for picture in made:
            item: dict[str, Any] = {"revised_prompt": prompt, "seed": picture.seed}
            if "url" in formats:
                item["url"] = await atelier.publishing.publish(request, picture.data, asked.output_format)
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


def _response_formats(asked: ImageBody, *, is_form: bool) -> set[str]:
    """How pictures come, where a caller does not say as what that model's own clients read.

    Those of OpenAI's newer models know base64 only, and may refuse a URL of a private address; those of DALL-E read
    `url`; the SDKs send each edit as a form and read base64, where older clients that send forms read `url`.
    """
    if asked.response_format is not None:
        return {asked.response_format}
    name = (asked.model or "").rpartition("/")[2]
    if name.startswith(("gpt-image-", "chatgpt-image-")):
        return {"b64_json"}
    return {"b64_json", "url"} if is_form or name.startswith("dall-e-") else {"b64_json"}


def _response_fields(asked: ImageBody, job: ImageJob) -> dict[str, str]:
    """What answers and events say of the pictures."""
    return {
        "background": "opaque",
        "output_format": asked.output_format,
        "quality": asked.quality,
        "size": f"{job.width}x{job.height}",
    }


async def _streamed(
    request: Request, atelier: Atelier, alias: str, job: ImageJob, asked: ImageBody, response_fields: dict[str, str]
) -> Response:
    """The pictures as server-sent events. A refusal still becomes a status, where it comes within a few seconds."""
    pieces = _pieces(request, atelier, alias, job, asked)
    stream = await started(pieces)
    family: Literal["image_edit", "image_generation"] = (
        "image_generation" if isinstance(asked, Generation) else "image_edit"
    )
    return EventStream(_events(family, stream, response_fields, job.seed), stream)


async def _pieces(
    request: Request, atelier: Atelier, alias: str, job: ImageJob, asked: ImageBody
) -> AsyncGenerator[Partial | Made, None]:
    jobs = atelier.jobs
    left = job.n
    async with jobs.working(request, alias) as listed:
        made = make(atelier.models, listed, job, asked.output_format, asked.output_compression, asked.partial_images)
        async with aclosing(made) as pieces:
            async for piece in pieces:
                left -= isinstance(piece, Made)
                if not left:  # who has the last picture need not wait for the end of the stream
                    jobs.end(listed, "done")
                yield piece


async def _events(
    family: str,
    pieces: StartedStream[Partial | Made],
    response_fields: dict[str, str],
    seed: int,
) -> AsyncIterator[dict[str, str]]:
    async def event(piece: Partial | Made) -> dict[str, str]:
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
    except Exception as error:  # noqa: BLE001 - the status is long sent: every failure must be sent inside the stream
        yield {"event": "error", "data": json.dumps({"type": "error", **envelope(from_exception(error))})}


def _refuse_unsupported(asked: ImageBody) -> None:
    if asked.partial_images and not asked.stream:
        raise invalid("partial_images", "partial_images: they are sent only with stream: true")
    if asked.stream and asked.response_format == "url":
        raise invalid("response_format", "response_format: streamed pictures come as b64_json")
    if asked.background == "transparent":
        raise invalid("background", "background: this model makes opaque pictures only; allowed: auto, opaque")
    if asked.output_compression != 100 and asked.output_format == "png":
        raise invalid("output_compression", "output_compression is for jpeg and webp only")


def _check_mask(mask: Picture, image: Picture) -> None:
    if (mask.width, mask.height) != (image.width, image.height):
        raise invalid(
            "mask",
            f"mask: {mask.width}x{mask.height} pixels where the image has {image.width}x{image.height}; "
            "both must be of one size",
        )
    repainted(mask.data)
