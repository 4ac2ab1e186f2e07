"""Pages that call: from this machine, from the server itself, from origins that are named, and from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.pictures import png
from tests.deployments.apps import client, fault, make_app

FORM = {"file": ("circle.png", png())}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "https://app:x@evil.example",
        "http://atelier.test.evil.example",
        "http://[",
    ],
)
async def test_a_form_of_a_page_from_elsewhere_which_browsers_send_unasked_does_nothing(
    tmp_path: Path, origin: str
) -> None:
    async with client(make_app(tmp_path)) as http:
        for method, path in (("POST", "/upload"), ("POST", "/v1/system/evict/clip")):
            refused = await http.request(method, path, files=FORM, headers={"Origin": origin})
            assert fault(refused) == (403, "origin_not_allowed", None)
            assert origin in refused.json()["error"]["message"]
            assert "access-control-allow-origin" not in refused.headers
        assert (await http.get("/latest")).status_code == 404, "nothing was uploaded"


@pytest.mark.parametrize(
    ("origin", "environ", "headers"),
    [
        (None, {}, {}),
        ("http://localhost:3000", {}, {}),
        ("http://studio.localhost:3000", {}, {}),
        ("tauri://localhost", {}, {}),
        ("app://obsidian.md", {}, {}),
        ("capacitor://localhost", {}, {}),
        ("file://", {}, {}),
        ("vscode-webview://1a2b3c", {}, {}),
        ("http://atelier.test", {}, {}),
        ("https://page.example", {"ATELIER_CORS_ORIGINS": "https://page.example"}, {}),
        ("https://public.example", {"ATELIER_PUBLIC_URL": "https://public.example/ai"}, {}),
        ("https://proxy.example", {"ATELIER_TRUSTED_PROXIES": "192.0.2.1"}, {"X-Forwarded-Host": "proxy.example"}),
    ],
)
async def test_forms_of_programs_of_this_machine_of_the_server_and_of_named_origins_are_taken(
    tmp_path: Path, origin: str | None, environ: dict[str, str], headers: dict[str, str]
) -> None:
    sent = {**headers, **({"Origin": origin} if origin else {})}
    async with client(make_app(tmp_path, environ)) as http:
        assert (await http.post("/upload", files=FORM, headers=sent)).status_code == 200


async def test_a_page_from_elsewhere_may_ask_but_not_read(tmp_path: Path) -> None:
    async with client(make_app(tmp_path)) as http:
        answer = await http.get("/healthz", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
