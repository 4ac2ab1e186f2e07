"""Vision Insight: the six tasks over one picture (docs/http-api.md, "Vision tasks")."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import invalid
from deployments.ingress.openapi import accepts
from deployments.ingress.requests import body, json_schemas
from deployments.ingress.requests.pictures import base64_room, read_picture
from deployments.ingress.schemas.chat import Analysis
from models.tasks import ChatJob, ImagePart, Message, TextPart

router = APIRouter(prefix="/v1/vision", tags=["vision"])

_TASKS: dict[str, tuple[str, str]] = {
    "caption": ("one short sentence", "Describe this image in one short sentence."),
    "ocr": ("only the visible text", "Read the text in this image. Answer with the text only."),
    "describe": (
        "objects, colours, composition and mood",
        "Describe this image in detail: objects, colours, composition and mood.",
    ),
    "analyze": (
        "main subject; objects and positions; colours and light; visible text; meaning",
        "Analyze this image: main subject; objects and positions; colours and light; visible text; meaning.",
    ),
    "objects": ("the objects, one per line", "List the objects in this image, one per line."),
    "custom": ("the caller's own prompt, which is required", ""),
}
"""Task: what it gives, and what the model is asked."""


@router.get("/tasks", summary="List the tasks")
async def tasks() -> dict[str, Any]:
    """The tasks that `/v1/vision/analyze` takes."""
    return {"tasks": [{"id": name, "description": text} for name, (text, _) in _TASKS.items()]}


@router.post("/analyze", summary="Look at one picture", openapi_extra=accepts(Analysis))
async def analyze(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """One task over one picture; with `schema` the result is JSON that validates against it."""
    params = await body.read(request, Analysis, max_bytes=base64_room(atelier.settings))
    question = _question(params)
    if params.json_schema is not None:
        await json_schemas.check(params.json_schema, "schema")
    configured = atelier.settings.tasks
    alias = atelier.models.resolve(params.model or configured.get(params.task) or configured.get("default"), ["vlm"])
    picture = await read_picture(params.image, atelier.settings, "image")
    messages = (Message("user", (ImagePart(picture.data, "image"), TextPart(question))),)
    job = ChatJob(messages, max_tokens=params.max_tokens, form=params.json_schema)
    begun = time.monotonic()
    answer = await atelier.models.chats(alias).answer(job)
    text = answer.text.strip()
    result: dict[str, Any] = {
        "task": params.task,
        "result": text if params.json_schema is None else await json_schemas.value_of(text, params.json_schema),
        "created": int(time.time()),
        "model": alias,
        "usage": {"latency": round(time.monotonic() - begun, 3), "prompt_used": question},
    }
    if params.task == "objects" and params.json_schema is None:
        result["objects"] = [line for raw in text.splitlines() if (line := re.sub(r"^[-*•\d.)\s]+", "", raw).strip())]
    return result


def _question(params: Analysis) -> str:
    if params.task == "custom" and not params.prompt:
        raise invalid("prompt", "prompt is required with the task `custom`", "missing_required_parameter")
    question = params.prompt or _TASKS[params.task][1]
    if params.json_schema is None:
        return question
    return f"{question}\nAnswer with JSON only, following this JSON schema: {json.dumps(params.json_schema)}"
