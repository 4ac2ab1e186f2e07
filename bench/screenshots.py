"""Pictures of the studio for the docs: `python -m bench.screenshots URL` (`make screenshots` starts the server)."""

from __future__ import annotations

import io
import itertools
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Literal

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

FOLDER: Final = Path(__file__).parent.parent / "docs" / "pictures" / "studio"
PROMPTS: Final = (
    "a cat in space",
    "a cute dog on the beach",
    "an owl in the forest at night",
)
ROOMS: Final = ("create", "chat", "look", "find", "speak", "system")
SHAPES: Final = {"circle": "#d62828", "square": "#f2b705", "sea": "#1d4ed8", "leaf": "#1b8a3b", "plum": "#7b2cbf"}


def main() -> None:
    """Drive the page and save what is seen."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("bench.screenshots: no Chromium; deploy/packages.sh chromium installs it")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = _opened(browser, sys.argv[1], color_scheme="light", viewport={"width": 1280, "height": 860})
        _draw(page)
        _work(page, _drawn(Path(folder)))
        for room in ROOMS:
            _look_at(page, room)
        browser.close()


def _look_at(page: Page, room: str) -> None:
    """A room in both sizes, light and dark."""
    sizes: dict[str, ViewportSize] = {"": {"width": 1280, "height": 860}, "-phone": {"width": 390, "height": 800}}
    schemes: dict[str, Literal["light", "dark"]] = {"": "light", "-dark": "dark"}
    _go(page, room)
    for (of_size, size), (of_scheme, scheme) in itertools.product(sizes.items(), schemes.items()):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(250)
        page.evaluate("scrollTo(0, 0)")
        _save(page, f"{room}{of_size}{of_scheme}")


def _opened(browser: Browser, url: str, **context: Any) -> Page:
    page = browser.new_context(locale="en-GB", **context).new_page()
    page.set_default_timeout(120_000)
    page.goto(url)
    page.wait_for_selector("#prompt")
    return page


def _draw(page: Page) -> None:
    for done, prompt in enumerate(PROMPTS, 1):
        page.fill("#prompt", prompt)
        page.press("#prompt", "Enter")
        expect(page.locator(".result details.code")).to_have_count(done, timeout=120_000)
    page.locator("button:text-is('Edit this')").first.click()
    page.fill("#prompt", "replace the owl with a fox")
    page.press("#prompt", "Enter")
    expect(page.locator(".result details.code")).to_have_count(len(PROMPTS) + 1, timeout=120_000)
    page.get_by_label("Remove this picture").click()
    page.fill("#prompt", "a red star on a white background")
    page.locator("h1").first.click()


def _work(page: Page, files: list[Path]) -> None:
    shown = "section.room-of:not([hidden])"
    _go(page, "chat")
    page.set_input_files(f"{shown} input[type=file]", files[0])
    page.fill("#chat-words", "What do you see?")
    page.press("#chat-words", "Enter")
    expect(page.locator("button:text-is('Send')")).to_be_visible(timeout=120_000)
    _go(page, "look")
    page.set_input_files(f"{shown} input[type=file]", files[:4])
    page.click("button:text-is('Caption each')")
    expect(page.locator(f"{shown} article.result")).to_have_count(4, timeout=120_000)
    _go(page, "find")
    page.set_input_files(f"{shown} header input[type=file]", files)
    expect(page.locator(".tile")).to_have_count(len(files), timeout=120_000)
    page.click("button:text-is('Close')")
    page.fill("#query", "a red circle")
    page.press("#query", "Enter")
    expect(page.locator(".tile .score")).to_have_count(len(files), timeout=120_000)
    _go(page, "speak")
    page.fill("#speech", "Good morning. This is the studio of Atelier.")
    page.click(f"{shown} button.main")
    expect(page.locator("audio")).to_have_count(1, timeout=120_000)
    page.wait_for_timeout(800)
    _go(page, "system")  # its list is there a moment later


def _go(page: Page, room: str) -> None:
    page.click(f"nav a[href='#{room}']")
    page.wait_for_timeout(700)
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")


def _save(page: Page, name: str) -> None:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(FOLDER / f"{name}.webp", quality=82, method=6)


def _drawn(folder: Path) -> list[Path]:
    """Pictures to look through: two shapes in every colour."""
    files = []
    for name, colour in SHAPES.items():
        for shape in ("ellipse", "rectangle"):
            picture = Image.new("RGB", (256, 256), "white" if shape == "ellipse" else "#10151c")
            getattr(ImageDraw.Draw(picture), shape)((56, 56, 200, 200), fill=colour)
            picture.save(folder / f"{name}-{shape}.png")
            files.append(folder / f"{name}-{shape}.png")
    return files


if __name__ == "__main__":
    main()
