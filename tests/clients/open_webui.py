"""Open WebUI in a browser, pointed at a server: `make test-open-webui`. Needs PyPI, 6 GB of disk and Chromium.

Each step does what a person does on the page, then looks at the page and at what the server was asked. What was seen
becomes the list in docs/clients.md, and the requests are replayed by `make test`.

    python -m tests.clients.open_webui [--write]
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from playwright.sync_api import Locator, Page, sync_playwright

from cli.environment import ROOT, free_ports
from tests.clients.environments import HERE, Environment, python_environment
from tests.clients.recorder import Recorded, recording
from tests.clients.run import is_kept, keep, put
from tests.clients.snippets import BASE_URL, PAGE
from tests.servers import start_server

MARKS: Final = ("<!-- open webui: made by make test-open-webui -->", "<!-- open webui: end -->")
CIRCLE: Final = HERE / "programs" / "circle.png"
PATIENCE: Final = 90_000
"""Milliseconds for what a model has to be loaded for, on a busy machine."""


@dataclass
class Visit:
    """An Open WebUI in a browser, and what it has asked the server."""

    page: Page
    url: str
    folder: Path
    sent: list[Recorded] = field(default_factory=list)

    def ask(self, text: str, *, picture: Path | None = None, draw: bool = False) -> Locator:
        """Send a message in a new chat, by the keyboard; the answer, once it is whole."""
        self.page.goto(self.url, wait_until="domcontentloaded")
        self.page.wait_for_selector("#chat-input")
        self._close_news()
        if picture is not None:
            self.page.set_input_files("input[type=file] >> nth=0", picture)
            self.page.wait_for_selector('#message-input-container img, form img[alt]:not([src*="static"])')
        if draw:
            self.page.get_by_label("Integrations").first.click()
            self.page.get_by_role("menuitemcheckbox", name="Image").click()
            self.page.keyboard.press("Escape")
        self.page.click("#chat-input")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("button", name="Regenerate").wait_for()
        return self.page.locator(".chat-assistant").last

    def asked(self, path: str, says: Callable[[Recorded], bool] = lambda _: True) -> Recorded:
        """The latest request to a path of which that is true, which the server has answered; waits for it."""
        until = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < until:
            for each in reversed(self.sent):
                if each["path"] == path and each.get("status") == 200 and says(each):
                    return each
            self.page.wait_for_timeout(200)
        raise AssertionError(f"{path} was not asked: {[(each['path'], each.get('status')) for each in self.sent]}")

    def _close_news(self) -> None:
        """What is new in this version, shown once."""
        okay = self.page.get_by_role("button", name="Okay, Let's Go!")
        if okay.count():
            okay.first.click()


def first_start(visit: Visit) -> None:
    """At its first start it has the server's models, and preselects a chat model."""
    visit.page.goto(visit.url, wait_until="domcontentloaded")
    visit.page.get_by_label("Selected model: vlm-fast").first.wait_for()


def picture_chat(visit: Visit) -> None:
    """Asked for the colour of a circle in an attached picture, it shows the right answer, streamed."""
    answer = visit.ask("What colour is the circle?", picture=CIRCLE)
    assert "red" in answer.inner_text().lower(), answer.inner_text()
    assert visit.asked("/v1/chat/completions", lambda each: "image_url" in str(each["body"]))["body"]["stream"]


def titles(visit: Visit) -> None:
    """Beside an answer it asks for a title, tags and further questions, and gets them answered."""
    visit.ask("What colour is a tomato?")
    visit.asked("/v1/chat/completions", lambda each: "### Task:" in str(each["body"]) and "title" in str(each["body"]))


def drawn(visit: Visit) -> None:
    """With Image switched on under the message, it shows a picture that was drawn here."""
    answer = visit.ask("a red circle", draw=True)
    visit.asked("/v1/images/generations")
    answer.locator('img[src*="/files/"], img[src^="data:"]').first.wait_for()


def edited(visit: Visit) -> None:
    """With Image switched on and a picture attached, it shows that picture changed."""
    answer = visit.ask("make the circle green", picture=CIRCLE, draw=True)
    visit.asked("/v1/images/edits")
    answer.locator('img[src*="/files/"], img[src^="data:"]').first.wait_for()


def read_aloud(visit: Visit) -> None:
    """Read Aloud speaks an answer."""
    visit.ask("What colour is a tomato?")
    visit.page.get_by_role("button", name="Read Aloud").last.click()
    visit.asked("/v1/audio/speech")


def knowledge(visit: Visit) -> None:
    """A text file that is attached is embedded here, and found again by its words."""
    note = visit.folder / "note.txt"
    note.write_text("The lighthouse of the harbour is painted red and white.\n", encoding="utf-8")
    visit.page.goto(visit.url, wait_until="domcontentloaded")
    visit.page.set_input_files("input[type=file] >> nth=0", note)
    visit.page.get_by_text("note.txt").first.wait_for()
    visit.asked("/v1/embeddings", lambda each: "lighthouse" in str(each["body"]))
    visit.page.click("#chat-input")
    visit.page.keyboard.type("What colour is the lighthouse?")
    visit.page.keyboard.press("Enter")
    visit.page.get_by_role("button", name="Regenerate").wait_for()
    visit.asked("/v1/chat/completions", lambda each: "painted red and white" in str(each["body"]))


STEPS: Final = (first_start, picture_chat, titles, drawn, edited, read_aloud, knowledge)


@contextmanager
def open_webui(environment: Environment, base_url: str, home: Path) -> Iterator[str]:
    """Open WebUI with the settings of the page's lines, in a folder of its own; its URL."""
    (port,) = free_ports(1)
    own = {"PATH": f"{environment.binaries}:/usr/bin:/bin", "HOME": str(home), "DATA_DIR": str(home)}
    command: list[str | Path] = [
        environment.binaries / "open-webui",
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    log = (home / "log").open("w", encoding="utf-8")
    url = f"http://127.0.0.1:{port}"
    with log, subprocess.Popen(command, env=own | settings(base_url), cwd=home, stdout=log, stderr=log) as process:
        try:
            while not _is_up(f"{url}/health"):
                if process.poll() is not None:
                    raise RuntimeError((home / "log").read_text(encoding="utf-8")[-3000:])
                time.sleep(1)
            yield url
        finally:
            process.terminate()


def settings(base_url: str) -> dict[str, str]:
    """The environment that the page says, with another server in it."""
    lines = (
        PAGE.read_text(encoding="utf-8").partition("<!-- settings of open webui -->\n```sh\n")[2].partition("```")[0]
    )
    given = (line.removeprefix("export ").split("=", 1) for line in lines.splitlines() if line.startswith("export "))
    return {name: shlex.split(value)[0].replace(BASE_URL, base_url) for name, value in given}


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Do every step, and say how it went; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep what was sent, and what was seen")
    parser.add_argument("--environment", type=Path, help="an environment that has Open WebUI")
    parser.add_argument("--server", help="the URL of a server that runs already")
    asked = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no Chromium: deploy/packages.sh chromium installs it")
    seen: list[str] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="open-webui-") as folder:
        home = Path(folder)
        environment = (
            Environment(asked.environment, asked.environment / "bin")
            if asked.environment
            else python_environment(
                home / "environment",
                HERE / "requirements" / "open_webui.txt",
                "--override", ROOT / "deploy" / "without-gpu.txt",
            )
        )  # fmt: skip
        server = None if asked.server else start_server(home / "server")
        try:
            if server:
                server.wait_until_ready()
            sent: list[Recorded] = []
            (home / "data").mkdir()
            with (
                recording(asked.server or server.url, sent) as recorder,  # type: ignore[union-attr]
                open_webui(environment, f"{recorder}/open_webui/v1", home / "data") as url,
                sync_playwright() as playwright,
            ):
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(locale="en-GB", viewport={"width": 1280, "height": 900})
                page.set_default_timeout(PATIENCE)
                visit = Visit(page, url, home, sent)
                for step in STEPS:
                    try:
                        step(visit)
                        seen.append(f"- {step.__doc__}")
                        print(f"yes: {step.__doc__}", flush=True)  # noqa: T201
                    except Exception as error:  # noqa: BLE001 - it is the result
                        failed = True
                        picture = Path(tempfile.gettempdir()) / f"open-webui-{os.getpid()}-{step.__name__}.png"
                        page.screenshot(path=picture)
                        print(f"no: {step.__doc__}: {error} ({picture})", flush=True)  # noqa: T201
                browser.close()
        finally:
            if server:
                server.stop()
    if asked.write and not failed:
        put(PAGE, MARKS, seen)
        keep("open_webui", [each for each in sent if is_kept(each)])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
