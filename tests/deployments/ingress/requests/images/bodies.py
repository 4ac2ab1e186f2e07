"""Requests for pictures, as JSON and as forms."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from starlette.requests import Request

import settings as configuration
from deployments.ingress.requests import body
from deployments.ingress.requests.body import Fields
from deployments.ingress.schemas.images import (
    ALIASES,
    MAX_SEED,
    OLD_ALIASES,
    Edit,
    Generation,
    OnePicture,
    Process,
    StoredPicture,
    Variation,
)
from tests.deployments.apps import ARGS

MODELS: list[type[Fields]] = [Generation, Edit, Variation, OnePicture, StoredPicture, Process]


SETTINGS = configuration.validate(ARGS, {})


bounded = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""The same few requests on every machine, however slow it is."""


def sent(model: type[Fields], request: httpx.Request) -> Fields:
    """What `body.read` makes of a request."""
    content = request.read()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    app = SimpleNamespace(state=SimpleNamespace(atelier=SimpleNamespace(settings=SETTINGS)))
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "headers": headers, "app": app}
    aliases = ALIASES if "steps" in model.model_fields else OLD_ALIASES
    return asyncio.run(body.read(Request(scope, receive), model, max_bytes=1 << 20, aliases=aliases))


def as_json(values: Any) -> httpx.Request:
    headers = {"content-type": "application/json"}
    return httpx.Request("POST", "http://test", content=json.dumps(values), headers=headers)


def as_form(pairs: list[tuple[str, str]], *, multipart: bool) -> httpx.Request:
    if multipart:
        return httpx.Request("POST", "http://test", files=[(name, (None, text)) for name, text in pairs])
    by_name: dict[str, list[str]] = {}
    for name, text in pairs:
        by_name.setdefault(name, []).append(text)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return httpx.Request("POST", "http://test", data=by_name, headers=headers)


def form_pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    """JSON values as the SDKs write them in forms."""
    pairs: list[tuple[str, str]] = []

    def put(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{name}[{key}]", inner)
        elif isinstance(value, list):
            for inner in value:
                put(f"{name}[]", inner)
        elif value is not None:
            pairs.append((name, value if isinstance(value, str) else json.dumps(value)))

    for name, value in values.items():
        put(name, value)
    return pairs


TEXT = st.text(min_size=1, max_size=40)


BASE64 = st.binary(min_size=1, max_size=20).map(lambda data: base64.b64encode(data).decode())


REFERENCE = st.fixed_dictionaries({"image_url": BASE64.map(lambda text: f"data:image/png;base64,{text}")})


SIDE = st.integers(-10, 5000)


VALID: dict[str, st.SearchStrategy[Any]] = {
    "prompt": TEXT,
    "title": TEXT,
    "description": TEXT,
    "negative_prompt": TEXT,
    "model": TEXT,
    "user": TEXT,
    "safety_identifier": TEXT,
    "key": TEXT,
    "bearer_token": TEXT,
    "input_image_url": TEXT,
    "seed": st.integers(0, MAX_SEED),
    "steps": st.integers(1, 150),
    "num_inference_steps": st.integers(1, 50),
    "guidance": st.floats(0, 20) | st.integers(0, 20),
    "guidance_scale": st.floats(0, 20) | st.integers(0, 20),
    "width": SIDE,
    "height": SIDE,
    "n": st.integers(1, 10),
    "size": st.sampled_from(["auto", "64x64", "1024x1024", "huge"]),
    "response_format": st.sampled_from(["b64_json", "url"]),
    "quality": st.sampled_from(["auto", "low", "standard", "hd", "max"]),
    "background": st.sampled_from(["auto", "opaque", "transparent"]),
    "output_format": st.sampled_from(["png", "jpeg", "webp"]),
    "output_compression": st.integers(0, 100),
    "stream": st.booleans(),
    "partial_images": st.integers(0, 3),
    "embed_parameters": st.booleans(),
    "loras": st.lists(st.fixed_dictionaries({"name": TEXT, "weight": st.floats(-4, 4)}), min_size=1, max_size=3),
    "moderation": st.sampled_from(["auto", "low"]),
    "style": st.sampled_from(["vivid", "natural"]),
    "image": BASE64 | REFERENCE,
    "images": st.lists(REFERENCE, min_size=1, max_size=16),
    "mask": BASE64 | REFERENCE,
    "strength": st.floats(0.01, 1),
}
"""Values that the routes take, by field; files are sent as files and have tests of their own."""


def requests(model: type[Fields]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests that are valid but for what one field says of another."""
    names = [name for name in model.model_fields if name != "input_file"]
    either: list[dict[str, Any]] = [{}]
    if model is Edit:
        either = [{"image": st.lists(BASE64, min_size=1, max_size=16) | VALID["image"]}, {"images": VALID["images"]}]
    elif issubclass(model, OnePicture):
        either = [{"prompt": TEXT}, {"title": TEXT, "description": TEXT}]
    exclusive = {name for fields in either for name in fields}
    fields = {name: VALID[name] for name in names if name not in exclusive}
    required = {name: fields.pop(name) for name in names if model.model_fields[name].is_required() and name in fields}
    ways = st.one_of(*(st.fixed_dictionaries({**required, **way}, optional=fields) for way in either))
    return ways.filter(bool)  # no form says nothing
