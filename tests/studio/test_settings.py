"""A picture that is dropped in gives its settings back, whichever tool has written them; and what models offer."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page, Route, expect

from tests.studio.test_studio import draw, shown

pytestmark = pytest.mark.nightly

FOREIGN = (
    "masterpiece, a castle\nby the sea <lora:unknown:0.8>\nNegative prompt: people, text\n"
    "Steps: 28, Sampler: DPM++ 2M, CFG scale: 6.5, Seed: 1234567890, Size: 832x1216, Model hash: 6ce0161689, "
    'Model: some_model, Denoising strength: 0.4, Lora hashes: "unknown: 1a2b", Version: v1.10.1'
)
MODELS = "**/v1/models"


def png_with(**texts: str) -> bytes:
    chunks = PngInfo()
    for name, text in texts.items():
        chunks.add_text(name, text, zip=name == "parameters" and "castle" in text)
    return saved("PNG", pnginfo=chunks)


def with_comment(kind: str, comment: bytes, endian: str) -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x8769] = {0x9286: comment}
    return saved(kind, exif=exif.tobytes())


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, kind, **options)
    return buffer.getvalue()


OTHERS = {
    "packed.png": png_with(parameters=FOREIGN),
    "big.jpg": with_comment("JPEG", b"UNICODE\0" + FOREIGN.encode("utf-16-be"), ">"),
    "mixed.webp": with_comment("WEBP", b"UNICODE\0" + FOREIGN.encode("utf-16-be"), "<"),
    "little.webp": with_comment("WEBP", b"UNICODE\0" + FOREIGN.encode("utf-16-le"), "<"),
    "plain.jpg": with_comment("JPEG", b"ASCII\0\0\0" + FOREIGN.encode(), "<"),
}
SILENT = {
    "none.png": saved("PNG"),
    "workflow.png": png_with(workflow='{"nodes": []}'),
    "broken.png": png_with(atelier='{"seed": '),
    "odd.png": png_with(atelier='{"prompt": {"x": 1}, "seed": -4, "loras": "all", "size": "big"}'),
}


def give(page: Page, name: str, data: bytes) -> None:
    page.set_input_files(shown(page, "input[type=file]"), {"name": name, "mimeType": "", "buffer": data})
    expect(page.locator(".given img")).to_have_count(1)


@pytest.mark.parametrize("words", ["a red circle on a blue background", "파란 배경의 빨간 원"])
def test_what_was_drawn_here_is_drawn_again_by_its_own_settings(page: Page, tmp_path: Path, words: str) -> None:
    page.click("summary:has-text('Options')")
    page.get_by_label("Steps").fill("3")
    draw(page, words)
    with page.expect_download() as download:
        page.click(".result button:text-is('Download')")
    made = Path(download.value.path()).read_bytes()
    page.click("button:text-is('Back to the defaults')")
    page.fill("#prompt", "")
    give(page, "made.png", made)
    expect(page.locator(".note.settings")).to_contain_text(words)
    page.click("button:text-is('Use its settings')")
    assert page.input_value("#prompt") == words
    assert page.get_by_label("Steps").input_value() == "3"
    page.press("#prompt", "Enter")
    expect(page.locator(".result details.code")).to_have_count(2)
    with page.expect_download() as download:
        page.locator(".result button:text-is('Download')").first.click()
    assert Path(download.value.path()).read_bytes() == made


@pytest.mark.parametrize("name", OTHERS)
def test_pictures_of_other_tools_give_theirs_as_far_as_they_go(page: Page, name: str) -> None:
    page.click("summary:has-text('Options')")
    give(page, name, OTHERS[name])
    page.click("button:text-is('Use its settings')")
    assert page.input_value("#prompt") == "masterpiece, a castle\nby the sea"
    expected = {"Steps": "28", "Guidance": "6.5", "Seed": "1234567890", "Size": "832x1216"}
    assert {label: page.get_by_label(label).input_value() for label in expected} == expected
    assert page.get_by_label("Not in the picture").input_value() == "people, text"
    expect(page.locator(".given img")).to_have_count(0)


@pytest.mark.parametrize("name", SILENT)
def test_a_picture_that_tells_nothing_offers_nothing(page: Page, name: str) -> None:
    give(page, name, SILENT[name])
    expect(page.locator("button:text-is('Vary')")).to_be_visible()
    expect(page.locator(".note.settings")).to_have_count(0)


def test_adapters_of_a_model_are_options_and_are_sent(page: Page) -> None:
    def with_adapters(route: Route) -> None:
        answer = route.fetch()
        listed = answer.json()
        for each in listed["data"]:
            if each["kind"] == "image":
                each["limits"]["loras"] = ["ink", "clay"]
        route.fulfill(response=answer, json=listed)

    page.route(MODELS, with_adapters)
    page.reload()
    page.click("summary:has-text('Options')")
    page.get_by_label("ink").fill("0.5")
    page.fill("#prompt", "a red circle")
    with page.expect_request("**/v1/images/generations") as sent:
        page.press("#prompt", "Enter")
    assert json.loads(sent.value.post_data or "")["loras"] == [{"name": "ink", "weight": 0.5}]
    expect(page.locator(".result .note.wrong")).to_contain_text("'ink' is not configured")  # this server has none


def test_the_microphone_is_there_only_where_a_model_listens(page: Page) -> None:
    def without_listeners(route: Route) -> None:
        answer = route.fetch()
        listed = answer.json()
        listed["data"] = [each for each in listed["data"] if "transcribe" not in each["capabilities"]]
        route.fulfill(response=answer, json=listed)

    dictate = page.locator("button:has-text('Dictate')")
    expect(dictate).to_have_count(1)
    page.route(MODELS, without_listeners)
    page.reload()
    page.wait_for_function("document.querySelector('select option')")
    expect(dictate).to_have_count(0)
