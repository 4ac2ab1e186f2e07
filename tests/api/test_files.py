"""Uploads and the newest of them, through the whole server."""

from __future__ import annotations

import re

import httpx

from tests.api.conftest import fault
from tests.api.pictures import SVG, png, scene


def test_a_picture_is_uploaded_seen_and_the_latest(http: httpx.Client) -> None:
    data = png(scene("star", "yellow"))
    url = http.post("/upload", files={"file": ("x.jpg", data)}).raise_for_status().json()["url"]
    assert re.fullmatch(r"/i/[0-9a-f]{32}\.png", url)
    seen = http.get(url)
    assert (seen.content, seen.headers["content-type"]) == (data, "image/png")
    assert http.get(url, headers={"Range": "bytes=0-7"}).content == data[:8]
    assert http.get("/latest").json()["url"] == f"{str(http.base_url).rstrip('/')}{url}"
    assert http.get("/latest/raw").content == data


def test_what_is_no_picture_or_not_there_is_an_envelope_with_a_detail(http: httpx.Client) -> None:
    refused = http.post("/upload", files={"file": ("x.svg", SVG, "image/svg+xml")})
    assert fault(refused) == (400, "invalid_image", "file")
    missing = http.get(f"/i/{'0' * 32}.png")
    assert fault(missing) == (404, "NOT_FOUND", None)
    assert missing.json()["detail"] == "not found"


def test_nobody_without_trust_says_how_the_server_was_asked(http: httpx.Client) -> None:
    http.post("/upload", files={"file": ("x", png())}).raise_for_status()
    said = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "10.0.0.1",
            "X-Atelier-Peer": "127.0.0.1"}  # fmt: skip
    assert http.get("/latest", headers=said).json()["url"].startswith(f"{str(http.base_url).rstrip('/')}/i/")
