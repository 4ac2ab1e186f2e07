"""`/process` of a server that hands out no files and may fetch pictures from one host."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from cli.environment import ROOT
from tests.api.conftest import fault
from tests.api.pictures import png, scene
from tests.servers import start_server

PICTURE = png(scene("square", "green"))


class _Gallery(BaseHTTPRequestHandler):
    """One picture, for whoever has the token."""

    def do_GET(self) -> None:
        is_right = self.headers["Authorization"] == "Bearer secret"
        self.send_response(200 if is_right else 401)
        self.end_headers()
        self.wfile.write(PICTURE if is_right else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def gallery() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Gallery) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The image model alone."""
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    application = document["applications"][0]
    models = {"image-gen": application["args"]["models"]["image-gen"]}
    args = {"image_search_enabled": False, "voice_enabled": False, "models": models}
    application |= {"args": args, "deployments": []}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_picture_is_fetched_with_its_token_and_the_result_is_base64(
    tmp_path: Path, config: Path, gallery: str
) -> None:
    environ = {"PUBLIC_FILES": "0", "ATELIER_ALLOW_REMOTE_IMAGES": "1", "ATELIER_REMOTE_IMAGE_HOSTS": gallery}
    server = start_server(tmp_path / "home", config, **environ)
    try:
        server.wait_until_ready()
        with httpx.Client(base_url=server.url, timeout=120) as http:
            url = f"http://{gallery}/x.png"
            form = {"input_image_url": url, "num_inference_steps": "2", "seed": "3"}
            told = http.post("/process", data={**form, "bearer_token": "secret"}).raise_for_status().json()
            assert told["mode"] == "variation"
            assert told["input_image"] == {
                "source": "url",
                "bearer_token": "***",
                "url": url,
                "original_width": 64,
                "original_height": 64,
            }
            assert "result_image_url" not in told
            raw = http.post("/process/raw", data={**form, "bearer_token": "secret"})
            assert base64.b64decode(told["result_image_base64"]) == raw.content
            assert fault(http.post("/process", data=form)) == (400, "invalid_value", "input_image_url")
            assert fault(http.get("/latest")) == (404, "NOT_FOUND", None)
    finally:
        assert server.stop() == 0
