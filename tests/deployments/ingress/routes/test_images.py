"""The picture routes up to where a model is called, in process."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import fields
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import cast

import httpx
import pytest
from ray.serve.handle import DeploymentHandle

import settings as configuration
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.ingress.schemas.images import ALIASES, Drawing, Edit, Generation, Process, StoredPicture, Variation
from deployments.ingress.services.image_jobs import image_job
from deployments.storage import open_store
from models.entry import ModelEntry
from models.tasks import ImageJob, LoraUse
from tests.deployments.apps import client, fault
from tests.upstreams import pretending

ARGS = {
    "models": {"image-gen": {"engine": "diffusion", "checkpoint": "builtin:image"}},
    "image_search_enabled": False,
    "voice_enabled": False,
}
OF_THE_RESPONSE = {
    "model", "response_format", "background", "output_format", "output_compression", "stream", "partial_images", "user",
    "safety_identifier", "moderation", "style", "key", "embed_parameters",
}  # fmt: skip
"""What says nothing of how a picture is drawn."""
SOURCES = {"size", "quality", "image", "title", "description", "input_image_url", "input_file", "bearer_token"}
"""What becomes a field of the request only after it has been read, written or compared."""


def http_of(home: Path, environ: dict[str, str]) -> httpx.AsyncClient:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(home), **environ})
    never_called = cast("DeploymentHandle", None)
    models = ModelCalls(settings, {"image-gen": never_called})
    return client(create_app(Atelier(settings, models, open_store(settings), None)))


@pytest.mark.parametrize("body", [Generation, Edit, Variation, StoredPicture, Process])
def test_every_field_of_a_body_says_how_a_picture_is_drawn_or_is_known_not_to(body: type[Drawing]) -> None:
    names = {ALIASES.get(name, name) for name in body.model_fields}
    assert names <= {field.name for field in fields(ImageJob)} | OF_THE_RESPONSE | SOURCES


def test_a_body_becomes_a_request_by_the_names_of_its_fields() -> None:
    asked = Generation.model_validate(
        {"prompt": "a", "seed": 3, "steps": 4, "guidance": 2.5, "n": 2, "quality": "hd", "negative_prompt": "b",
         "loras": [{"name": "x", "weight": 0.5}], "size": "128x64"}
    )  # fmt: skip
    entry = ModelEntry.model_validate(
        {
            "engine": "diffusion",
            "checkpoint": "not/there",
            "image": {"steps": 10},
            "options": {"loras": {"x": {"checkpoint": "x"}}},
        }
    )
    assert image_job(asked, entry, (512, 512), "a") == ImageJob(
        "a", 128, 64, n=2, seed=3, steps=4, guidance=2.5, negative_prompt="b", loras=(LoraUse("x", 0.5),)
    )
    assert image_job(asked.model_copy(update={"steps": None}), entry, (512, 512), "a").steps == 15  # as `hd` says
    older = Process.model_validate({"num_inference_steps": 4, "guidance_scale": 0.0, "seed": 0})
    assert image_job(older, entry, (512, 512), "") == ImageJob("", 512, 512, seed=0, steps=4, guidance=0.0)


async def test_a_job_whose_prompt_is_being_written_is_stopped_at_once(tmp_path: Path) -> None:
    writing, may_end = threading.Event(), threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> None:
        writing.set()
        may_end.wait()

    with pretending(wait) as endpoint:
        environ = {"ATELIER_PROMPT_API_KEY": "none", "ATELIER_PROMPT_BASE_URL": endpoint.url}
        try:
            async with http_of(tmp_path, environ) as http:
                titled = {"title": "Circle", "description": "A red circle"}
                request = asyncio.ensure_future(
                    http.post("/v1/images/generate", json=titled, headers={"x-request-id": "job"})
                )
                await asyncio.to_thread(writing.wait)
                assert (await http.delete("/v1/jobs/job")).json()["state"] == "cancelled"
                answer = await asyncio.wait_for(request, timeout=60)
                assert fault(answer) == (400, "cancelled", None)
                assert (await http.get("/v1/jobs/job")).json()["state"] == "cancelled"
        finally:
            may_end.set()


async def test_a_size_that_cannot_be_drawn_is_refused_before_a_prompt_is_written(tmp_path: Path) -> None:
    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.send_error(500)

    with pretending(refuse) as endpoint:
        environ = {"ATELIER_PROMPT_API_KEY": "none", "ATELIER_PROMPT_BASE_URL": endpoint.url}
        async with http_of(tmp_path, environ) as http:
            asked = {"title": "Circle", "description": "A red circle", "width": 100}
            assert fault(await http.post("/v1/images/generate", json=asked))[2] == "width"
        assert endpoint.asked == []


async def test_parameters_that_a_jpeg_has_no_room_for_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    asked = {"prompt": "빨" * 32_000, "negative_prompt": "a" * 1000, "output_format": "jpeg", "embed_parameters": True}
    async with http_of(tmp_path, {}) as http:
        assert fault(await http.post("/v1/images/generations", json=asked)) == (
            400,
            "invalid_value",
            "embed_parameters",
        )


@pytest.mark.parametrize(
    ("prefer", "has_events"),
    [("respond-async", True), ("wait=5, Respond-Async; x=1", True), ("return=minimal", False), ("", False)],
)
async def test_partial_pictures_are_for_who_streams_or_prefers_an_answer_at_once(
    tmp_path: Path, prefer: str, has_events: bool
) -> None:
    asked = {"prompt": "a", "partial_images": 2, "size": "1x1"}  # refused after the fields have been looked at
    async with http_of(tmp_path, {}) as http:
        answer = await http.post("/v1/images/generations", json=asked, headers={"prefer": prefer})
    assert fault(answer)[2] == ("size" if has_events else "partial_images")
