"""`/process` of a server that hands out no files and may fetch pictures from one host."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.api.attached.conftest import TOKEN
from tests.api.conftest import fault

pytestmark = pytest.mark.nightly


def test_a_picture_is_fetched_with_its_token_and_the_result_is_base64(caller: httpx.Client, gallery: str) -> None:
    url = f"http://{gallery}/x.png"
    form = {"input_image_url": url, "num_inference_steps": "2", "seed": "3"}
    told = caller.post("/process", data={**form, "bearer_token": TOKEN}).raise_for_status().json()
    assert told["mode"] == "variation"
    assert told["input_image"] == {
        "source": "url",
        "bearer_token": "***",
        "url": url,
        "original_width": 64,
        "original_height": 64,
    }
    assert "result_image_url" not in told
    raw = caller.post("/process/raw", data={**form, "bearer_token": TOKEN})
    assert base64.b64decode(told["result_image_base64"]) == raw.content
    assert fault(caller.post("/process", data=form)) == (400, "invalid_value", "input_image_url")
    assert fault(caller.get("/latest")) == (404, "NOT_FOUND", None)
