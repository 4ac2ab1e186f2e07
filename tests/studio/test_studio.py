"""The page at `/`, driven as a person drives it, against the running server and its built-in models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.api.node import NODE, Node
from tests.api.pictures import png
from tests.api.test_voice import recording
from tests.servers import Server

ROOMS = ("create", "chat", "look", "find", "speak", "system")
LANGUAGES = {"curl": ["bash", "-e"], "Python": [sys.executable], "JavaScript": [NODE, "--input-type=module"]}
FIRST_PAINT = 100_000
"""Bytes of everything that is needed before anything is seen, packed."""


def shown(page: Page, selector: str) -> str:
    """A selector in the room that is looked at."""
    return f"section.room-of:not([hidden]) {selector}"


def enter(page: Page, room: str) -> None:
    page.click(f"nav a[href='#{room}']")
    page.wait_for_selector(shown(page, "h1"))


def draw(page: Page, prompt: str, results: int = 1) -> None:
    page.fill("#prompt", prompt)
    page.press("#prompt", "Enter")
    expect(page.locator(".result details.code")).to_have_count(results)


def test_the_first_paint_is_small_packed_strict_and_remembered(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers={"Accept-Encoding": "gzip"}) as http:
        page = http.get("/")
        assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in page.headers["content-security-policy"]
        files = re.findall(r'(?:src|href)="(studio/[^"]+)"', page.text)
        answers = [http.get(f"/{each}") for each in files]
        assert all(each.status_code == 200 and "immutable" in each.headers["cache-control"] for each in answers)
        assert sum(int(each.headers["content-length"]) for each in [page, *answers]) < FIRST_PAINT
        again = http.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert http.get("/studio/0000000000000000/style.css").status_code == 404
        plain = http.get("/", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == page.content
        assert "http" not in re.sub(r"<!doctype html>", "", page.text)  # no address outside


def test_words_draw_and_the_same_call_as_code_makes_the_same_picture(page: Page, node: Node) -> None:
    draw(page, "a red circle on a blue background")
    result = page.locator(".result").first
    expect(result).to_contain_text("seed")
    with page.expect_download() as download:
        result.locator("button:has-text('Download')").click()
    made = Path(download.value.path()).read_bytes()
    result.locator("details.code summary").click()
    for language, command in LANGUAGES.items():
        result.locator(f"button:text-is('{language}')").click()
        code = result.locator(f"pre[data-language='{language}']").inner_text()
        subprocess.run(command, input=code, text=True, cwd=node.folder, check=True, timeout=120)
        assert (node.folder / "picture.png").read_bytes() == made, language
        (node.folder / "picture.png").unlink()


def test_a_picture_with_words_is_edited_and_both_are_seen(page: Page) -> None:
    draw(page, "a red circle on a blue background")
    page.click("button:text-is('Edit this')")
    draw(page, "make the circle green", 2)
    slider = page.locator(".result").first.get_by_label("Before and after")
    slider.fill("80")
    expect(slider).to_have_value("80")


def test_a_painted_mask_keeps_the_rest(page: Page, pictures: list[Path]) -> None:
    page.set_input_files(shown(page, "input[type=file]"), pictures[0])
    page.click("button:text-is('Paint a mask')")
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 5, box["y"] + box["height"] / 2)
    page.mouse.up()
    page.click("button:text-is('Use this mask')")
    page.fill("#prompt", "a blue square")
    page.click("button:text-is('Change what is painted')")
    page.click(".result details.code summary")
    expect(page.locator(".result pre")).to_contain_text("-F mask=@mask.png")


def test_a_picture_is_talked_about(page: Page, pictures: list[Path]) -> None:
    enter(page, "chat")
    page.set_input_files(shown(page, "input[type=file]"), pictures[0])
    page.fill("#chat-words", "What do you see?")
    page.press("#chat-words", "Enter")
    expect(page.locator(".turn.theirs")).to_contain_text(re.compile(r"\w+ \w+"))
    expect(page.locator("button:text-is('Send')")).to_be_visible()


def test_words_sent_before_the_list_of_models_is_there_are_answered(page: Page) -> None:
    held: list[Route] = []
    page.route("**/v1/models", lambda route: held.append(route) if len(held) < 2 else route.continue_())
    page.reload()
    enter(page, "chat")
    expect(page.locator("#chat-model option")).to_have_count(0)
    page.fill("#chat-words", "Hello")
    page.press("#chat-words", "Enter")
    page.click("button:text-is('Stop')")  # while the list is asked for
    expect(page.locator("button:text-is('Send')")).to_be_visible()
    page.fill("#chat-words", "Hello again")
    page.press("#chat-words", "Enter")
    expect(page.locator(".turn.theirs")).to_contain_text(re.compile(r"\w+"))
    expect(page.locator("#chat-model option").first).to_be_attached()
    for route in held:
        route.abort()


def test_pictures_are_described_and_captioned(page: Page, pictures: list[Path]) -> None:
    enter(page, "look")
    page.set_input_files(shown(page, "input[type=file]"), pictures[0])
    page.click("button:text-is('Caption')")
    expect(page.locator(shown(page, "article h2"))).to_have_text("Caption")
    page.set_input_files(shown(page, "input[type=file]"), pictures[1:])
    page.click("button:text-is('Caption each')")
    expect(page.locator(shown(page, "article.result"))).to_have_count(3)
    assert page.title() == "Look · Atelier"  # the file's name is text


def test_pictures_are_found_by_words_and_deleted_with_a_way_back(page: Page, pictures: list[Path]) -> None:
    enter(page, "find")
    page.fill("#project", "studio")
    with page.expect_response("**/v1/projects/studio/images?**"):
        page.press("#project", "Tab")
    page.set_input_files(shown(page, "header input[type=file]"), pictures)
    expect(page.locator(".tile")).to_have_count(3)
    page.fill("#query", "red")
    page.press("#query", "Enter")
    expect(page.locator(".tile .score")).to_have_count(3)
    page.click("button:text-is('Show all')")
    page.locator(".tile").first.hover()
    page.locator(".tile").first.get_by_role("button", name="Delete").click()
    expect(page.locator(".tile")).to_have_count(2)
    page.click(".toast button")
    expect(page.locator(".tile")).to_have_count(3)
    assert page.title() == "Find · Atelier"


def test_a_text_is_spoken_and_a_voice_is_made_of_recordings(page: Page, tmp_path: Path) -> None:
    enter(page, "speak")
    page.fill("#speech", "Good morning.")
    page.click(shown(page, "button.main"))
    expect(page.locator("audio")).to_have_count(1)
    sound = tmp_path / "ann.wav"
    sound.write_bytes(recording())
    page.click("summary:has-text('Make a voice')")
    page.get_by_label("Name").fill("Ann of the studio")
    for place in (1, 2):
        page.locator("details input[type=file]").nth(place - 1).set_input_files(sound)
    page.click("button:text-is('Make the voice')")
    expect(page.locator(shown(page, "div.sheet:has(h2:text-is('Your voices'))"))).to_contain_text("Ann of the studio")


@pytest.mark.nightly
def test_looking_at_the_system_wakes_nobody(page: Page, server: Server) -> None:
    loaded = httpx.get(f"{server.url}/v1/system/status").json()["workers"]
    for alias in loaded:  # what another test has asked for may be starting still
        httpx.post(f"{server.url}/v1/system/evict/{alias}", timeout=120)
    enter(page, "system")
    expect(page.locator("tbody tr").first).to_be_visible()
    dashboard = httpx.get(f"{server.url}/v1/system/status").json()["dashboard"]
    expect(page.get_by_role("link", name="Ray’s dashboard")).to_have_count(int(dashboard is not None))
    assert dashboard is None or httpx.get(dashboard).status_code == 200
    page.wait_for_timeout(2500)  # it has looked twice
    assert not httpx.get(f"{server.url}/v1/system/status").json()["workers"]


def test_recent_requests_are_listed_with_their_ids(page: Page, server: Server) -> None:
    httpx.get(f"{server.url}/v1/vision/tasks", headers={"x-request-id": "to-be-found"}).raise_for_status()
    enter(page, "system")
    expect(page.locator("table.log tr", has_text="to-be-found")).to_contain_text("GET /v1/vision/tasks")


def test_a_broken_file_is_a_sentence_in_its_place(page: Page, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(png()[:40])
    page.set_input_files(shown(page, "input[type=file]"), tmp_path / "broken.png")
    page.click("button:text-is('Vary')")
    expect(page.locator(".result .note.wrong")).to_contain_text("no picture that the server can read")


@pytest.mark.nightly
def test_two_tabs_draw_at_once(page: Page, context: BrowserContext, server: Server) -> None:
    other = context.new_page()
    other.goto(server.url)
    page.fill("#prompt", "a red star")
    other.fill("#prompt", "a blue star")
    page.press("#prompt", "Enter")
    other.press("#prompt", "Enter")
    for each in (page, other):
        expect(each.locator(".result details.code")).to_have_count(1)


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("a white cross on black")
    page.keyboard.press("Enter")
    expect(page.locator(".result details.code")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Browser, server: Server, scheme: Literal["light", "dark"]) -> None:
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # axe is not one of the page's own scripts
    page = context.new_page()
    for room in ROOMS:
        page.goto(f"{server.url}/#{room}")
        page.wait_for_selector(shown(page, "h1"))
        found = Axe().run(page)
        assert found.violations_count == 0, f"{room}: {found.generate_report()}"
    context.close()


@pytest.mark.parametrize(("language", "first"), [("ko-KR", "무엇을 만들까요?"), ("ja-JP", "何をつくりましょうか?")])
def test_a_phone_shows_it_whole_in_its_language(browser: Browser, server: Server, language: str, first: str) -> None:
    context = browser.new_context(locale=language, viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    page.goto(server.url)
    expect(page.locator("h1")).to_have_text(first)
    for room in ROOMS:
        enter(page, room)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, room
    context.close()
