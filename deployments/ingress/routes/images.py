"""Making and changing pictures: the OpenAI routes, and the older ones that give PNG bytes or keep them in the store."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from deployments.imaging import FinishedImage, Output, Partial
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError, from_exception, invalid
from deployments.ingress.openapi import accepts
from deployments.ingress.policy import policy
from deployments.ingress.prefer import HEADER, RESPOND_ASYNC, prefers_async
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import Picture, read_picture
from deployments.ingress.responses.accepted import Accepted
from deployments.ingress.responses.sse import EventStream, started
from deployments.ingress.schemas.images import (
    ALIASES,
    MAX_IMAGES,
    MAX_SEED,
    OLD_ALIASES,
    Edit,
    Generation,
    OnePicture,
    StoredPicture,
    Variation,
)
from deployments.ingress.services.image_answers import AskedPictures, ResponseFormat
from deployments.ingress.services.image_jobs import image_job, make, make_all, size_like
from deployments.ingress.services.job_outcomes import Outcome
from deployments.ingress.services.jobs import Job
from deployments.ingress.services.object_keys import image_key
from deployments.ingress.services.retention import GENERATED
from deployments.serve_internals import context_outliving_the_request
from deployments.states import JobState
from models.picture_parameters import MAX_EXIF_BYTES, exif_of, parameters_of

router = APIRouter(tags=["images"])

MAY_OUTLIVE: Final = ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations")
"""The routes whose work may go on without the connection that asked for it."""
_TITLED_SIZE: Final = (768, 1152)
_REFUSAL_SECONDS: Final = 0.1

ImageBody = Generation | Edit | Variation


@router.post("/v1/images/generations", summary="Make pictures", openapi_extra=accepts(Generation, forms=True))
async def generations(request: Request, atelier: AtelierDep) -> Response:
    """Pictures from a prompt, as the OpenAI SDKs ask for them."""
    params = await body.read(request, Generation, aliases=ALIASES)
    _refuse_unsupported(request, params)
    return await _answer(request, atelier, params, params.prompt, [], None)


@router.post("/v1/images/edits", summary="Change pictures", openapi_extra=accepts(Edit, forms=True))
async def edits(request: Request, atelier: AtelierDep) -> Response:
    """A picture changed by an instruction, by `strength`, or where `mask` lets it."""
    settings = atelier.settings
    params = await body.read(request, Edit, max_bytes=MAX_IMAGES * settings.image_max_bytes * 4 // 3, aliases=ALIASES)
    _refuse_unsupported(request, params)
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
    _refuse_unsupported(request, params)
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
    """What the three OpenAI routes have in common: the job, and its pictures whole, streamed or for later."""
    asked = _asked(atelier, params, prompt, images, mask, is_form=request.state.is_form)
    is_for_later = prefers_async(request.headers)
    if params.stream and not is_for_later:
        return await _streamed(request, atelier, asked)
    if "url" in asked.formats:
        await atelier.publishing.check()
    if is_for_later:
        return await _accepted(request, atelier, asked)
    begun = time.monotonic()
    async with atelier.jobs.working(request, asked.alias) as work:
        made = await make_all(atelier.models, work, asked.job, asked.output)
        urls = await _published(request, atelier, asked, made)
    answer = asked.answer(made, urls, time.monotonic() - begun)
    return Response(await answer.body(), media_type="application/json")


def _asked(
    atelier: Atelier, params: ImageBody, prompt: str, images: list[Picture], mask: Picture | None, *, is_form: bool
) -> AskedPictures:
    alias = atelier.models.resolve(params.model, ["image"])
    entry = atelier.models.entries[alias]
    if not images:
        default_size = (entry.image.width, entry.image.height)
    elif mask is None or params.says_size:
        default_size = size_like(images[0])
    else:  # what may not change comes back pixel for pixel
        default_size = (images[0].width, images[0].height)
    job = image_job(params, entry, default_size, prompt, images, mask, is_variation=isinstance(params, Variation))
    if params.embed_parameters and params.output_format == "jpeg":
        size = len(exif_of(parameters_of(job, MAX_SEED, alias, entry.checkpoint)))
        if size > MAX_EXIF_BYTES:
            message = f"embed_parameters: a JPEG has room for {MAX_EXIF_BYTES} bytes of them, these are {size}; a PNG"
            raise invalid("embed_parameters", f"{message} or WebP has room")
    return AskedPictures(
        alias,
        job,
        Output(params.output_format, params.output_compression, params.partial_images, params.embed_parameters),
        params.quality,
        _response_formats(params, is_form=is_form),
        "image_generation" if isinstance(params, Generation) else "image_edit",
    )


def _response_formats(params: ImageBody, *, is_form: bool) -> frozenset[ResponseFormat]:
    """How pictures come, where a caller does not say as what that model's own clients read.

    Those of OpenAI's newer models know base64 only, and may refuse a URL of a private address; those of DALL-E read
    `url`; the SDKs send each edit as a form and read base64, where older clients that send forms read `url`.
    """
    if params.response_format is not None:
        return frozenset([params.response_format])
    name = (params.model or "").rpartition("/")[2]
    if name.startswith(("gpt-image-", "chatgpt-image-")):
        return frozenset(["b64_json"])
    return frozenset(["b64_json", "url"] if is_form or name.startswith("dall-e-") else ["b64_json"])


async def _published(
    request: Request, atelier: Atelier, asked: AskedPictures, made: Sequence[FinishedImage]
) -> list[str]:
    """The URLs of the pictures, where they are wanted."""
    if "url" not in asked.formats:
        return []
    return [await atelier.publishing.publish(request, each.data, asked.output.format) for each in made]


async def _streamed(request: Request, atelier: Atelier, asked: AskedPictures) -> Response:
    """The pictures as server-sent events. A refusal still becomes a status, where it comes within a few seconds."""
    stream = await started(_pieces(request, atelier, asked))
    return EventStream(asked.events(aiter(stream)), stream)


async def _pieces(
    request: Request, atelier: Atelier, asked: AskedPictures
) -> AsyncGenerator[Partial | FinishedImage, None]:
    jobs = atelier.jobs
    left = asked.job.n
    async with (
        jobs.working(request, asked.alias) as work,
        aclosing(make(atelier.models, work, asked.job, asked.output)) as pieces,
    ):
        async for piece in pieces:
            left -= isinstance(piece, FinishedImage)
            if not left:  # who has the last picture need not wait for the end of the stream
                jobs.end(work, JobState.DONE)
            yield piece


async def _accepted(request: Request, atelier: Atelier, asked: AskedPictures) -> Response:
    """The job, whose work goes on without the caller. A refusal still becomes a status, where it comes at once."""
    job = await atelier.jobs.begin_for_later(request, asked.alias, Outcome(asked))
    making = asyncio.create_task(_make_for_later(request, atelier, job), context=context_outliving_the_request())
    try:
        await asyncio.wait([making], timeout=_REFUSAL_SECONDS)
    except BaseException:  # the caller has left, and knows of no job
        making.cancel()
        raise
    if making.done() and (refusal := making.result()) is not None:
        raise refusal
    location = f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"
    return Accepted(job.shown(), making, {"Location": location, "Preference-Applied": RESPOND_ASYNC})


async def _make_for_later(request: Request, atelier: Atelier, job: Job) -> ApiError | None:
    """Make a job's pictures, all of which its outcome gets; what went wrong, if anything did."""
    outcome = atelier.jobs.outcome_of(job)
    asked = outcome.asked
    begun = time.monotonic()
    made: list[FinishedImage] = []
    try:
        async with atelier.jobs.within(job):
            async with aclosing(make(atelier.models, job, asked.job, asked.output)) as pieces:
                async for piece in pieces:
                    outcome.add(piece)
                    if isinstance(piece, FinishedImage):
                        made.append(piece)
            urls = await _published(request, atelier, asked, made)
            outcome.end(answer=asked.answer(made, urls, time.monotonic() - begun))
    except Exception as error:  # noqa: BLE001 - the answer has been sent, so every failure has to be kept
        refusal = from_exception(error)
        outcome.end(error=refusal)
        return refusal
    return None


def _refuse_unsupported(request: Request, params: ImageBody) -> None:
    is_for_later = prefers_async(request.headers)
    if params.partial_images and not (params.stream or is_for_later):
        raise invalid(
            "partial_images", f"partial_images: they are sent only with stream: true, or {HEADER}: {RESPOND_ASYNC}"
        )
    if params.stream and params.response_format == "url" and not is_for_later:
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
