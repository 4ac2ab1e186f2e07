"""The official SDK of Node, against the picture routes."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.api.node import Node, ended
from tests.api.pictures import png, scene

PROMPT = "a big red circle on a blue background"
ORDER = "make the circle yellow"
PICTURE = png(scene("circle", "red", "blue"))


@pytest.fixture
def kept(tmp_path: Path) -> Callable[[bytes], str]:
    """Writes bytes to a file of no telling name; its path."""

    def keep(data: bytes) -> str:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.bin"
        path.write_bytes(data)
        return str(path)

    return keep


def pixels(data: bytes | dict[str, Any]) -> np.ndarray:
    if isinstance(data, dict):
        data = base64.b64decode(data["b64_json"])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int)


def half_open() -> bytes:
    """A mask that lets the left half change."""
    alpha = Image.new("L", (64, 64), 255)
    alpha.paste(0, (0, 0, 32, 64))
    picture = Image.new("RGBA", (64, 64))
    picture.putalpha(alpha)
    return png(picture)


def test_what_is_generated_is_base64_with_every_field_that_the_types_promise(node: Node, http: httpx.Client) -> None:
    went = node.call("images.generate", {"prompt": PROMPT, "model": "image-gen", "seed": 5, "steps": 2})
    answer = went["answer"]
    (item,) = answer["data"]
    plain = http.post("/v1/images/generations", json={"prompt": PROMPT, "seed": 5, "steps": 2}).json()
    assert item == plain["data"][0]
    assert pixels(item).shape == (128, 128, 3)
    assert abs(answer["created"] - time.time()) < 3600
    assert [answer[name] for name in ("background", "output_format", "quality", "size")] == [
        "opaque", "png", "medium", "128x128",
    ]  # fmt: skip
    assert {"input_tokens", "output_tokens", "total_tokens", "input_tokens_details"} <= set(answer["usage"])
    assert went["request_id"]


def test_each_of_n_pictures_comes_as_a_url_that_needs_no_key(node: Node) -> None:
    params = {"prompt": PROMPT, "n": 3, "steps": 1, "seed": 1, "response_format": "url", "output_format": "jpeg"}
    data = node.call("images.generate", params)["answer"]["data"]
    assert [item["seed"] for item in data] == [1, 2, 3]
    assert not any("b64_json" in item for item in data)
    fetched = [httpx.get(item["url"]) for item in data]
    assert {(each.status_code, each.headers["content-type"]) for each in fetched} == {(200, "image/jpeg")}
    assert len({each.content for each in fetched}) == 3


def test_a_stream_gives_partial_pictures_and_then_the_whole_one(node: Node) -> None:
    asked = {"prompt": PROMPT, "seed": 4, "steps": 6}
    went = node.call("images.generate", {**asked, "stream": True, "partial_images": 2})
    events = went["events"]
    assert [event["type"].partition(".")[2] for event in events] == ["partial_image", "partial_image", "completed"]
    assert [event.get("partial_image_index") for event in events] == [0, 1, None]
    assert events[-1]["b64_json"] == node.call("images.generate", asked)["answer"]["data"][0]["b64_json"]
    assert events[-1]["usage"]["total_tokens"] == 0
    assert went["request_id"]


def test_a_null_is_what_was_left_out(node: Node) -> None:
    params = {"prompt": PROMPT, "steps": 1, "n": None, "size": None, "quality": None, "user": None}
    assert len(node.call("images.generate", params)["answer"]["data"]) == 1


def test_a_file_read_from_the_disk_and_a_list_of_files_give_the_same_edit(node: Node, kept: Any) -> None:
    path = kept(PICTURE)
    params = {"prompt": ORDER, "seed": 1, "steps": 2, "n": 1, "size": "64x64"}
    streamed = node.call("images.edit", params, streams={"image": path})["answer"]["data"][0]
    listed = node.call("images.edit", params, files={"image": [path]})["answer"]["data"][0]
    assert streamed["b64_json"] == listed["b64_json"]
    assert httpx.get(streamed["url"]).content == base64.b64decode(streamed["b64_json"])
    assert (pixels(listed) != pixels(PICTURE)).any()


def test_several_files_all_reach_the_model_which_says_how_many_it_takes(node: Node, kept: Any) -> None:
    error = node.call("images.edit", {"prompt": ORDER}, files={"image": [kept(PICTURE), kept(PICTURE)]})["error"]
    assert (error["name"], error["code"], error["param"]) == ("BadRequestError", "unsupported_parameter", "image")


def test_only_what_the_mask_opens_changes(node: Node, kept: Any) -> None:
    params = {"prompt": "a big white square on a green background", "seed": 2}
    answer = node.call("images.edit", params, streams={"image": kept(PICTURE), "mask": kept(half_open())})["answer"]
    changed, original = pixels(answer["data"][0]), pixels(PICTURE)
    assert (changed[:, 32:] == original[:, 32:]).all()
    assert (changed[:, :32] != original[:, :32]).any()


def test_an_edit_is_streamed_too(node: Node, kept: Any) -> None:
    params = {"prompt": ORDER, "stream": True, "partial_images": 1, "steps": 4}
    events = node.call("images.edit", params, streams={"image": kept(PICTURE)})["events"]
    assert [event["type"] for event in events] == ["image_edit.partial_image", "image_edit.completed"]


def test_variations_come_in_number_and_size(node: Node, kept: Any) -> None:
    params = {"n": 2, "size": "128x64", "response_format": "b64_json", "steps": 2}
    answer = node.call("images.createVariation", params, streams={"image": kept(PICTURE)})["answer"]
    assert [pixels(item).shape for item in answer["data"]] == [(64, 128, 3)] * 2
    assert answer["size"] == "128x64"


def test_loras_of_a_form_are_read_as_the_sdk_writes_them(node: Node, kept: Any) -> None:
    params = {"prompt": ORDER, "loras": [{"name": "none-such", "weight": 0.5}]}
    error = node.call("images.edit", params, streams={"image": kept(PICTURE)})["error"]
    assert (error["status"], error["param"]) == (400, "loras[0].name")
    assert "'none-such'" in error["message"]


@pytest.mark.parametrize(
    ("call", "params", "file", "expected"),
    [
        ("images.generate", {"prompt": ""}, None, ("BadRequestError", 400, "string_below_min_length", "prompt")),
        ("images.generate", {"prompt": PROMPT, "size": "1x1"}, None, ("BadRequestError", 400, "invalid_value", "size")),
        ("images.generate", {"prompt": PROMPT, "n": 11}, None,
         ("BadRequestError", 400, "integer_above_max_value", "n")),
        ("images.generate", {"prompt": PROMPT, "size": "1x1", "stream": True}, None,
         ("BadRequestError", 400, "invalid_value", "size")),
        ("images.generate", {"prompt": PROMPT, "promtp": "a"}, None,
         ("BadRequestError", 400, "unsupported_parameter", "promtp")),
        ("images.generate", {"prompt": PROMPT, "model": "none/such"}, None,
         ("NotFoundError", 404, "model_not_found", "model")),
        ("images.edit", {"prompt": ORDER, "strength": 2}, PICTURE,
         ("BadRequestError", 400, "integer_above_max_value", "strength")),
        ("images.edit", {"prompt": ORDER, "modle": "x"}, PICTURE,
         ("BadRequestError", 400, "unsupported_parameter", "modle")),
        ("images.edit", {"prompt": ORDER}, b"", ("BadRequestError", 400, "invalid_image", "image")),
        ("images.edit", {"prompt": ORDER}, PICTURE[:-100], ("BadRequestError", 400, "invalid_image", "image")),
        ("images.edit", {"prompt": ORDER}, bytes(21 << 20), ("APIError", 413, "request_too_large", "image")),
        ("images.createVariation", {"n": 0}, PICTURE, ("BadRequestError", 400, "integer_below_min_value", "n")),
    ],
)  # fmt: skip
def test_an_error_has_its_class_and_names_the_field(
    node: Node, kept: Any, call: str, params: dict[str, Any], file: bytes | None, expected: tuple[Any, ...]
) -> None:
    streams = {} if file is None else {"image": kept(file)}
    error = node.call(call, params, streams=streams, headers={"x-request-id": "of-the-caller"})["error"]
    assert (error["name"], error["status"], error["code"], error["param"]) == expected
    assert error["type"] == "invalid_request_error"
    assert error["request_id"] == "of-the-caller"
    assert error["message"]


def until(http: httpx.Client, job: str, states: set[str], step: int = 0) -> dict[str, Any]:
    """The job's description once it is in one of the states and has come so far."""
    deadline = time.monotonic() + 60
    told: dict[str, Any] = {}
    while time.monotonic() < deadline:
        answer = http.get(f"/v1/jobs/{job}")
        told = answer.json()
        if answer.status_code == 200 and told["state"] in states and told["step"] >= step:
            return told
        time.sleep(0.05)
    raise AssertionError(f"{job} never was {states}: {told}")


def test_work_that_is_aborted_stops(node: Node, http: httpx.Client) -> None:
    params = {"prompt": PROMPT, "steps": 150, "n": 10}
    process = node.begin("images.generate", params, headers={"x-request-id": "node-aborts"}, leave="asked")
    try:
        until(http, "node-aborts", {"running"}, step=1)
        assert process.stdin
        process.stdin.write("leave\n")
        process.stdin.flush()
        assert ended(process)["error"]["name"] == "APIUserAbortError"
    finally:
        process.kill()
    told = until(http, "node-aborts", {"cancelled", "done", "failed"})
    assert (told["state"], told["step"] < told["steps"]) == ("cancelled", True)


def test_a_stream_that_is_left_stops(node: Node, http: httpx.Client) -> None:
    params = {"prompt": PROMPT, "steps": 150, "n": 10, "stream": True, "partial_images": 3}
    went = node.call("images.generate", params, headers={"x-request-id": "node-leaves"}, leave="first event")
    assert [event["type"] for event in went["events"]] == ["image_generation.partial_image"]
    assert went["request_id"] == "node-leaves"
    assert until(http, "node-leaves", {"cancelled", "done", "failed"})["state"] == "cancelled"
