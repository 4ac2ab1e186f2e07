"""Pictures as cameras make them: megabytes, in and out."""

from __future__ import annotations

import base64
import io

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.api.pictures import data_url, png


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A PNG of 13 MB."""
    rng = np.random.default_rng(6)
    return png(Image.fromarray(rng.integers(0, 256, (2048, 2112, 3), dtype=np.uint8)))


def test_a_large_picture_reaches_a_model(http: httpx.Client, noise: bytes) -> None:
    content = [
        {"type": "text", "text": "What is the colour of the background?"},
        {"type": "image_url", "image_url": {"url": data_url(noise)}},
    ]
    body = {"model": "vlm-fast", "max_tokens": 4, "messages": [{"role": "user", "content": content}]}
    assert http.post("/v1/chat/completions", json=body).status_code == 200


def test_a_large_picture_comes_back_from_a_model(http: httpx.Client, noise: bytes) -> None:
    alpha = Image.new("RGBA", (2112, 2048), (0, 0, 0, 255))
    alpha.paste((0, 0, 0, 0), (0, 0, 64, 64))
    files = {"image": noise, "mask": png(alpha)}
    answer = http.post("/v1/images/edits", data={"prompt": "a red circle", "steps": "1"}, files=files).json()
    assert answer["size"] == "2112x2048"
    changed = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))))
    assert (changed[64:] == np.asarray(Image.open(io.BytesIO(noise)))[64:]).all()
