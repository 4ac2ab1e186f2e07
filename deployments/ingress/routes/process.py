"""One form to edit, vary or draw a picture (docs/http-api.md, "The form of Flux Imaging")."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.executors import COMPUTING
from deployments.imaging import FinishedImage
from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.errors import ApiError
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body
from deployments.ingress.requests.pictures import Picture, read_picture
from deployments.ingress.schemas.images import OLD_ALIASES, Process
from deployments.ingress.services.image_jobs import image_job, make_all, size_like
from deployments.ingress.services.jobs import Job
from models.errors import InvalidImage
from models.tasks import ImageJob

router = APIRouter(tags=["picture files"])

Mode = Literal["edit", "variation", "generate"]
_SHOWN_URL: Final = 2048
"""Characters; a data URL may have millions."""


@router.post("/process", summary="Make or change a picture", openapi_extra=accepts(Process, json=False, forms=True))
async def process(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """Picture and prompt edit, a picture alone varies, a prompt alone generates; a file is preferred to a URL.

    The result is kept as an upload is, so that it is the newest of `/latest`.
    """
    settings = atelier.settings
    params = await body.read(request, Process, max_bytes=settings.image_max_bytes, aliases=OLD_ALIASES)
    if settings.public_files:
        await atelier.publishing.check()
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as work:
        done = await _process(atelier, work, params)
        if settings.public_files:
            kept = {"result_image_url": await atelier.publishing.publish_upload(request, done.made.data, "png")}
        else:
            encoded = await COMPUTING.run(base64.b64encode, done.made.data)
            kept = {"result_image_base64": encoded.decode()}
    return {
        "mode": done.mode,
        "input_image": _input(params, done.source),
        "prompt": params.prompt,
        "seed": done.made.seed,
        "guidance_scale": done.job.guidance,
        "num_inference_steps": done.job.steps,
        "width": done.job.width,
        "height": done.job.height,
        "model": done.model,
        "loras": [],
        **kept,
    }


@router.post(
    "/process/raw",
    summary="Make or change a picture, as PNG",
    response_class=Response,
    openapi_extra=accepts(Process, json=False, forms=True),
)
async def process_raw(request: Request, atelier: AtelierDep) -> Response:
    """The same, answered with the PNG itself."""
    settings = atelier.settings
    params = await body.read(request, Process, max_bytes=settings.image_max_bytes, aliases=OLD_ALIASES)
    alias = atelier.models.resolve(None, ["image"])
    async with atelier.jobs.working(request, alias) as work:
        done = await _process(atelier, work, params)
    headers = {"X-Seed": str(done.made.seed), "X-Mode": done.mode, "X-Model": done.model}
    return Response(done.made.data, media_type="image/png", headers=headers)


@dataclass(frozen=True)
class _Result:
    mode: Mode
    model: str
    source: Picture | None
    job: ImageJob
    made: FinishedImage


async def _process(atelier: Atelier, work: Job, params: Process) -> _Result:
    given = params.input_file or params.input_image_url
    if given is None and params.prompt is None:
        raise ApiError(
            400,
            "prompt, input_file or input_image_url is required",
            code="missing_required_parameter",
            param="prompt",
            detail="invalid input",
        )
    entry = atelier.models.entries[work.model]
    defaults = entry.image
    param = "input_file" if params.input_file else "input_image_url"
    source = None
    if given is not None:
        source = await work.unless_cancelled(lambda: read_picture(given, atelier.settings, param, params.bearer_token))
    mode: Mode = "generate" if source is None else "variation" if params.prompt is None else "edit"
    default_size = (defaults.width, defaults.height) if source is None else size_like(source)
    images = [] if source is None else [source]
    job = image_job(params, entry, default_size, params.prompt or "", images, is_variation=mode == "variation")
    try:
        (made,) = await make_all(atelier.models, work, job)
    except InvalidImage as error:  # found by the model, which knows no fields of this route
        raise InvalidImage(error.message, param) from error
    return _Result(mode, work.model, source, job, made)


def _input(params: Process, source: Picture | None) -> dict[str, Any] | None:
    if source is None:
        return None
    shown: dict[str, Any] = {
        "source": "file" if params.input_file else "url",
        "bearer_token": "***" if params.bearer_token else None,  # a secret is not repeated
        "original_width": source.width,
        "original_height": source.height,
    }
    return shown | (
        {"filename": params.input_file.filename}
        if params.input_file
        else {"url": (params.input_image_url or "")[:_SHOWN_URL]}
    )
