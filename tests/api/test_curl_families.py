"""The older servers' routes as their clients call them: with curl, one line a case."""

from __future__ import annotations

import asyncio
import io
import json
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from tests.api.pictures import SVG, data_url, png, scene
from tests.deployments.apps import listening, make_app
from tests.servers import Server

PICTURE = png(scene("star", "yellow"))
JSON = ["-H", "Content-Type: application/json", "-d"]
GENERATED = r"images/generated/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.png"


@dataclass(frozen=True)
class Answer:
    """What curl got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read

    @property
    def size(self) -> tuple[int, int]:
        """Of the PNG that the body is."""
        picture = Image.open(io.BytesIO(self.body))
        assert (picture.format, self.headers["content-type"]) == ("PNG", "image/png")
        return picture.size


def curl(url: str, *arguments: str, folder: Path | None = None) -> Answer:
    """Run curl; `@name` in its arguments is a file of `folder`."""
    done = subprocess.run(["curl", "-sS", "-i", *arguments, url], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in lines)
    assert headers["x-request-id"]
    return Answer(int(first.split()[1]), headers, body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that the lines below name."""
    made = tmp_path_factory.mktemp("curl")
    (made / "star.png").write_bytes(PICTURE)
    (made / "star.svg").write_bytes(SVG)
    (made / "star.url").write_text(data_url(PICTURE))
    (made / "empty.png").write_bytes(b"")
    return made


FILE = ["-F", "input_file=@star.png"]
URL = ["-F", "input_image_url=<star.url"]
PROMPT = ["-F", "prompt=a red circle"]
QUICK = ["-F", "num_inference_steps=2"]
TOLD = {
    "mode", "input_image", "prompt", "seed", "guidance_scale", "num_inference_steps", "width", "height", "model",
    "loras", "result_image_url",
}  # fmt: skip
OF_FILE = {"source": "file", "bearer_token": None, "filename": "star.png", "original_width": 64, "original_height": 64}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ([*FILE, *PROMPT], {"mode": "edit", "prompt": "a red circle", "input_image": OF_FILE}),
        ([*FILE], {"mode": "variation", "prompt": None, "input_image": OF_FILE}),
        ([*PROMPT], {"mode": "generate", "prompt": "a red circle", "input_image": None}),
        ([*URL], {"mode": "variation", "prompt": None}),
        ([*URL, *PROMPT], {"mode": "edit"}),
        ([*FILE, "-F", "input_image_url=http://localhost:1/x.png"], {"mode": "variation", "input_image": OF_FILE}),
        ([*FILE, "-F", "bearer_token=secret"], {"input_image": {**OF_FILE, "bearer_token": "***"}}),
        ([*PROMPT, "-F", "seed=0", "-F", "guidance_scale=0"], {"seed": 0, "guidance_scale": 0}),
        ([*PROMPT, "-F", "width=128", "-F", "height=96"], {"width": 128, "height": 96}),
        ([*PROMPT, "-F", "size=128x96"], {"width": 128, "height": 96}),
        ([*PROMPT, "-F", "seed=", "-F", "input_image_url=", "-F", "input_file=;filename="], {"mode": "generate"}),
    ],
)  # fmt: skip
def test_process_tells_what_was_made_and_where_it_is(
    server: Server, folder: Path, form: list[str], expected: dict[str, Any]
) -> None:
    answer = curl(f"{server.url}/process", *form, *QUICK, folder=folder)
    assert answer.status == 200, answer.body
    told = answer.json
    assert set(told) == TOLD
    assert {name: told[name] for name in expected} == expected
    assert (told["model"], told["loras"], told["num_inference_steps"]) == ("image-gen", [], 2)
    assert re.fullmatch(rf"{server.url}/i/[0-9a-f]{{32}}\.png", told["result_image_url"])
    assert curl(told["result_image_url"]).size == (told["width"], told["height"])


@pytest.mark.parametrize(
    ("form", "mode"), [([*FILE, *PROMPT], "edit"), ([*FILE], "variation"), ([*PROMPT], "generate")]
)
def test_process_raw_is_the_png_and_its_headers_say_how(
    server: Server, folder: Path, form: list[str], mode: str
) -> None:
    answer = curl(f"{server.url}/process/raw", *form, *QUICK, "-F", "seed=7", folder=folder)
    assert (answer.status, answer.size) == (200, (128, 128) if mode == "generate" else (64, 64))
    assert [answer.headers[name] for name in ("x-seed", "x-mode", "x-model")] == ["7", mode, "image-gen"]


@pytest.mark.parametrize("route", ["/process", "/process/raw"])
@pytest.mark.parametrize(
    ("form", "param", "detail"),
    [
        (["-F", "seed=1"], "prompt", "invalid input"),
        (["-X", "POST"], "prompt", "invalid input"),
        (["-F", "prompt="], "prompt", "invalid input"),
        ([*PROMPT, "-F", "seed=-2"], "seed", None),
        ([*PROMPT, "-F", "width=100"], "width", None),
        ([*PROMPT, "-F", "height=4096"], "height", None),
        ([*PROMPT, "-F", "guidance_scale=21"], "guidance_scale", None),
        ([*PROMPT, "-F", "num_inference_steps=0"], "num_inference_steps", None),
        ([*PROMPT, "-F", "num_inference_steps=2", "-F", "steps=3"], "steps", None),
        (["-F", "input_file=@star.svg"], "input_file", None),
        (["-F", "input_file=@empty.png"], "input_file", None),
        (["-F", "input_file=no file"], "input_file", None),
        (["-F", "input_image_url=http://127.0.0.1:1/x.png"], "input_image_url", None),
        (["-F", "input_image_url=file:///etc/passwd"], "input_image_url", None),
    ],
)  # fmt: skip
def test_process_refuses_in_the_words_of_old_clients_and_names_the_field(
    server: Server, folder: Path, route: str, form: list[str], param: str, detail: str | None
) -> None:
    answer = curl(f"{server.url}{route}", *form, folder=folder)
    told = answer.json
    assert (answer.status, told["error"]["param"]) == (400, param)
    assert told["detail"] == (detail or told["error"]["message"])
    assert set(told) == {"error", "detail"}


def test_what_is_uploaded_is_at_its_url_and_the_latest(server: Server, folder: Path) -> None:
    sent = curl(f"{server.url}/upload", "-F", "file=@star.png", folder=folder)
    assert (sent.status, list(sent.json)) == (200, ["url"])
    path = sent.json["url"]
    assert re.fullmatch(r"/i/[0-9a-f]{32}\.png", path)
    seen = curl(f"{server.url}{path}")
    assert (seen.status, seen.body, seen.headers["content-type"]) == (200, PICTURE, "image/png")
    assert seen.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in seen.headers["content-security-policy"]
    assert "max-age=31536000" in seen.headers["cache-control"]
    latest = curl(f"{server.url}/latest")
    assert set(latest.json) == {"url", "updated_at"}
    assert latest.json["url"] == f"{server.url}{path}"
    assert datetime.fromisoformat(latest.json["updated_at"]).utcoffset() == timedelta(hours=9)
    assert curl(f"{server.url}/latest/raw").body == PICTURE


def test_what_was_never_uploaded_is_not_found_and_a_script_is_no_picture(server: Server, folder: Path) -> None:
    missing = curl(f"{server.url}/i/{'0' * 32}.png")
    assert (missing.status, missing.json["detail"]) == (404, "not found")
    refused = curl(f"{server.url}/upload", "-F", "file=@star.svg;type=image/png", folder=folder)
    assert (refused.status, refused.json["error"]["param"]) == (400, "file")
    assert refused.json["detail"] == refused.json["error"]["message"]


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    """A file server whose latest upload needs a token."""
    async with listening(make_app(tmp_path, {"BEARER_TOKEN": "right"})) as url:
        yield url


async def test_the_latest_is_for_everybody_who_has_the_token(guarded: str, folder: Path) -> None:
    right = ["-H", "Authorization: Bearer right"]

    async def asked(*arguments: str) -> tuple[int, Answer]:
        answer = await asyncio.to_thread(curl, *arguments, folder=folder)
        return answer.status, answer

    for route in ("/latest", "/latest/raw"):
        status, none = await asked(f"{guarded}{route}")
        assert (status, none.headers["www-authenticate"]) == (401, "Bearer")
        assert none.json["detail"]
        assert (await asked(f"{guarded}{route}", "-H", "Authorization: Bearer wrong"))[0] == 403
        status, nothing = await asked(f"{guarded}{route}", *right)
        assert (status, "detail" in nothing.json) == (404, True)
    _, sent = await asked(f"{guarded}/upload", "-F", "file=@star.png")
    _, latest = await asked(f"{guarded}/latest", *right)
    assert latest.json["url"] == f"{guarded}{sent.json['url']}"
    assert (await asked(f"{guarded}/latest/raw", *right))[1].body == PICTURE


TITLED = {"title": "A quiet evening", "description": "A yellow star over a blue field", "num_inference_steps": 1}


@pytest.mark.parametrize(
    ("body", "size", "seed"),
    [
        ({"prompt": "a red circle"}, (128, 128), "42"),
        ({"prompt": "a red circle", "seed": 0, "guidance_scale": 0, "height": 96, "width": 128}, (128, 96), "0"),
        ({"prompt": "a red circle", "size": "96x64", "steps": 1, "guidance": 1.5}, (96, 64), "42"),
        (TITLED, (768, 1152), "42"),
        ({**TITLED, "width": 64, "height": 80}, (64, 80), "42"),
    ],
)
def test_generate_gives_a_png_with_its_seed_and_prompt(
    server: Server, body: dict[str, Any], size: tuple[int, int], seed: str
) -> None:
    answer = curl(f"{server.url}/v1/images/generate", *JSON, json.dumps(body))
    assert answer.status == 200, answer.body
    assert (answer.size, answer.headers["x-seed"]) == (size, seed)
    prompt = unquote(answer.headers["x-prompt"])
    assert prompt.isprintable()
    if "prompt" in body:
        assert prompt == body["prompt"]
        assert "x-prompt-writer" not in answer.headers
    else:
        assert prompt
        assert answer.headers["x-prompt-writer"]


@pytest.mark.parametrize("key", [None, "images/of-curl/star.png", "내 그림/별.png"])
def test_r2_generate_keeps_the_png_under_a_key(server: Server, key: str | None) -> None:
    body = {"prompt": "a red circle", "num_inference_steps": 2, **({} if key is None else {"key": key})}
    answer = curl(f"{server.url}/v1/r2/images/generate", *JSON, json.dumps(body))
    assert (answer.status, list(answer.json)) == (200, ["key"])
    kept = answer.json["key"]
    assert kept == key if key else re.fullmatch(GENERATED, kept)
    picture = curl(f"{server.url}/v1/images/generate", *JSON, json.dumps({**body, "key": None}))
    assert (server.home / "files" / kept).read_bytes() == picture.body


KEYED = {"prompt": "a", "num_inference_steps": 1}


@pytest.mark.parametrize(
    ("route", "body", "code", "param"),
    [
        ("generate", {}, "missing_required_parameter", "prompt"),
        ("generate", {"title": "a"}, "missing_required_parameter", "description"),
        ("generate", {"description": "a"}, "missing_required_parameter", "title"),
        ("generate", {**TITLED, "prompt": "a"}, "invalid_value", "prompt"),
        ("generate", {"prompt": "a" * 2001}, "string_above_max_length", "prompt"),
        ("generate", {"title": "a" * 201, "description": "a"}, "string_above_max_length", "title"),
        ("generate", {"title": "a", "description": "a" * 4001}, "string_above_max_length", "description"),
        ("generate", {"prompt": "a", "width": 63}, "invalid_value", "width"),
        ("generate", {"prompt": "a", "height": 2064}, "invalid_value", "height"),
        ("generate", {"prompt": "a", "num_inference_steps": 51}, "integer_above_max_value", "num_inference_steps"),
        ("generate", {"prompt": "a", "guidance_scale": 20.5}, "integer_above_max_value", "guidance_scale"),
        ("generate", {"prompt": "a", "promt": "x.png"}, "unsupported_parameter", "promt"),
        ("r2", {**KEYED, "key": "../x.png"}, "INVALID_KEY", "key"),
        ("r2", {**KEYED, "key": "/etc/passwd"}, "INVALID_KEY", "key"),
        ("r2", {**KEYED, "key": "image_search.db"}, "INVALID_KEY", "key"),
        ("r2", {**KEYED, "key": "AI/SEARCH/default/images/1.png"}, "INVALID_KEY", "key"),
        ("r2", {**KEYED, "key": 3}, "invalid_type", "key"),
    ],
)  # fmt: skip
def test_generate_refuses_in_the_words_of_old_clients_and_names_the_field(
    server: Server, route: str, body: dict[str, Any], code: str, param: str
) -> None:
    path = {"generate": "/v1/images/generate", "r2": "/v1/r2/images/generate"}[route]
    answer = curl(f"{server.url}{path}", *JSON, json.dumps(body))
    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (400, code, param)
    assert error["detail"] == error["message"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/process", 405), ("/process/raw", 405), ("/upload", 405), ("/v1/r2/images/generate", 405)],
)
def test_a_route_that_is_asked_in_another_way_says_so_in_the_envelope(server: Server, path: str, status: int) -> None:
    answer = curl(f"{server.url}{path}")
    assert answer.status == status
    assert {"message", "type", "param", "code"} <= set(answer.json["error"])
    assert answer.json["detail"] if not path.startswith("/v1") else answer.json["error"]["detail"]
