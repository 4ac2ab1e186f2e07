"""`embed_parameters`: what a picture was made of, in its file."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.api.pictures import png
from tests.models.test_picture_parameters import read_back

ASKED: dict[str, Any] = {"prompt": "a red circle", "seed": 11, "steps": 2, "n": 2}


def made(http: httpx.Client, path: str = "/v1/images/generations", **sent: Any) -> list[bytes]:
    files = {"image": ("a.png", png())} if path != "/v1/images/generations" else None
    body: dict[str, Any] = {"json": sent} if files is None else {"data": sent, "files": files}
    data = http.post(path, **body).raise_for_status().json()["data"]
    return [base64.b64decode(each["b64_json"]) for each in data]


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_each_picture_tells_its_own_seed_and_has_the_same_pixels(http: httpx.Client, output_format: str) -> None:
    asked = {**ASKED, "output_format": output_format}
    plain = made(http, **asked)
    with_parameters = made(http, **asked, embed_parameters=True)
    assert with_parameters == made(http, **asked, embed_parameters=True)
    for i, (one, other) in enumerate(zip(plain, with_parameters, strict=True)):
        with Image.open(io.BytesIO(one)) as before, Image.open(io.BytesIO(other)) as after:
            assert before.tobytes() == after.tobytes()
            assert "parameters" not in before.info
            assert not before.getexif()
        assert read_back(other) == (
            f"a red circle\nSteps: 2, CFG scale: 2, Seed: {11 + i}, Size: 128x128, Model: image-gen, "
            'Checkpoint: "builtin:image"'
        )


def test_an_edit_and_a_variation_tell_theirs_and_nobody_is_named(http: httpx.Client) -> None:
    http = httpx.Client(base_url=http.base_url, timeout=120, headers={"Authorization": "Bearer a-secret-key"})
    with http:
        sent: dict[str, Any] = {"seed": 3, "strength": 0.5, "steps": 2, "embed_parameters": "true", "user": "ann"}
        (edited,) = made(http, "/v1/images/edits", prompt="make the circle green", **sent)
        (varied,) = made(http, "/v1/images/variations", **sent)
    for picture in (edited, varied):
        assert b"a-secret-key" not in picture
        assert b"ann" not in picture
        with Image.open(io.BytesIO(picture)) as opened:
            told = json.loads(opened.info["atelier"])
        assert (told["seed"], told["strength"], told["size"]) == (3, 0.5, "64x64")
    assert read_back(edited).startswith("make the circle green\nSteps: 2, ")
