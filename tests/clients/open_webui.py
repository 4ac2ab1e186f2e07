"""Open WebUI in a browser, pointed at a server: `make test-open-webui`. Needs PyPI, 6 GB of disk and Chromium.

Each step does what a person does on the page, then looks at the page and at what the server was asked. What was seen
becomes the list in docs/clients.md, with a picture; the requests are kept beside those of the other clients.

    python -m tests.clients.open_webui [--write] [STEP …]
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from cli.environment import ROOT, free_ports
from tests.clients.environments import HERE, Environment, python_environment
from tests.clients.recorder import Recorded, recording
from tests.clients.run import is_kept, keep, put
from tests.clients.snippets import BASE_URL, PAGE
from tests.servers import start_server

MARKS: Final = ("<!-- open webui: made by make test-open-webui -->", "<!-- open webui: end -->")
PICTURE: Final = ROOT / "docs" / "pictures" / "open-webui.webp"
"""The conversation, as the docs show it."""
CIRCLE: Final = HERE / "programs" / "circle.png"
PATIENCE: Final = 180_000
"""Milliseconds for what a model has to be loaded for, on a busy machine."""


DICTATED: Final = "Good morning. How are you today?"
"""What the built-in model hears right of the built-in voice."""
DICTATION_SECONDS: Final = 3
SHOWN: Final = 'img[src*="/files/"], img[src^="data:"]'
"""A picture in an answer."""


@dataclass
class Visit:
    """An Open WebUI in a browser, and what it has asked the server."""

    page: Page
    url: str
    folder: Path
    sent: list[Recorded] = field(default_factory=list)
    picture: bytes = b""
    """The page with the conversation on it, as WebP."""

    def new_chat(self, model: str = "vlm-fast") -> None:
        """An empty chat with a model."""
        self.page.goto(f"{self.url}/?models={model}", wait_until="domcontentloaded")
        self.page.get_by_label(f"Selected model: {model}").first.wait_for()
        self.page.wait_for_selector("#chat-input")
        self._close_news()

    def ask(self, text: str, *, picture: Path | None = None, draw: bool = False) -> Locator:
        """Send a message in a new chat with `vlm-fast`; the answer, once it is whole."""
        self.new_chat()
        if picture is not None:
            self.page.set_input_files("input[type=file] >> nth=0", picture)
            self.page.wait_for_selector('#message-input-container img, form img[alt]:not([src*="static"])')
        if draw:
            self.page.get_by_label("Integrations").first.click()
            self.page.get_by_role("menuitemcheckbox", name="Image").click()
            self.page.keyboard.press("Escape")
        return self.say(text)

    def say(self, text: str) -> Locator:
        """Send a message in the chat that is open, by the keyboard; the answer, once it is whole."""
        answers = self.page.locator(".chat-assistant")
        before = answers.count()
        self.page.click("#chat-input")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        answer = answers.nth(before)
        self.page.get_by_role("button", name="Regenerate").nth(before).wait_for()
        return answer

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
    """At its first start it has the server's models, and preselects `atelier`, the chat that draws."""
    visit.page.goto(visit.url, wait_until="domcontentloaded")
    visit.page.get_by_label("Selected model: atelier").first.wait_for()


def picture_chat(visit: Visit) -> None:
    """Asked for the colour of a circle in an attached picture, it shows the right answer, streamed."""
    answer = visit.ask("What colour is the circle?", picture=CIRCLE)
    assert "red" in answer.inner_text().lower(), answer.inner_text()
    assert visit.asked("/v1/chat/completions", lambda each: "image_url" in str(each["body"]))["body"]["stream"]


def titles(visit: Visit) -> None:
    """Beside an answer it asks for a title, tags and further questions, and gets them answered."""
    visit.ask("What colour is a tomato?")
    visit.asked("/v1/chat/completions", lambda each: "### Task:" in str(each["body"]) and "title" in str(each["body"]))


def conversation(visit: Visit) -> None:
    """In an ordinary chat with `atelier` a picture is asked for, looked at and changed, with nothing switched on."""
    visit.new_chat("atelier")
    drawn = visit.say("Draw a big red circle on a blue background.").locator(SHOWN)
    drawn.wait_for()
    colour = visit.say("What colour is the circle?").inner_text()
    assert "red" in colour.lower(), colour
    changed = visit.say("Make the circle green.").locator(SHOWN)
    changed.wait_for()
    assert drawn.get_attribute("src") != changed.get_attribute("src")
    seen = BytesIO()
    Image.open(BytesIO(visit.page.screenshot())).save(seen, "webp", quality=85)
    visit.picture = seen.getvalue()


def drawn(visit: Visit) -> None:
    """With Image switched on under the message, it shows a picture that was drawn here."""
    answer = visit.ask("a red circle", draw=True)
    visit.asked("/v1/images/generations")
    answer.locator(SHOWN).wait_for()


def edited(visit: Visit) -> None:
    """With Image switched on and a picture attached, it shows that picture changed."""
    answer = visit.ask("make the circle green", picture=CIRCLE, draw=True)
    visit.asked("/v1/images/edits")
    answer.locator(SHOWN).wait_for()


def read_aloud(visit: Visit) -> None:
    """Read Aloud speaks an answer."""
    visit.ask("What colour is a tomato?")
    visit.page.get_by_role("button", name="Read Aloud").last.click()
    visit.asked("/v1/audio/speech")


def knowledge(visit: Visit) -> None:
    """A text file that is attached is embedded here, and found again by its words."""
    note = visit.folder / "note.txt"
    note.write_text("The lighthouse of the harbour is painted red and white.\n", encoding="utf-8")
    visit.new_chat()
    visit.page.set_input_files("input[type=file] >> nth=0", note)
    visit.page.get_by_text("note.txt").first.wait_for()
    visit.asked("/v1/embeddings", lambda each: "lighthouse" in str(each["body"]))
    visit.say("What colour is the lighthouse?")
    visit.asked("/v1/chat/completions", lambda each: "painted red and white" in str(each["body"]))


def dictated(visit: Visit) -> None:
    """Words that are dictated into the microphone stand in the message, heard here."""
    visit.new_chat()
    visit.page.get_by_role("button", name="Voice Input").click()
    visit.page.wait_for_timeout(DICTATION_SECONDS * 1000)
    visit.page.get_by_role("button", name="Confirm recording").click()
    visit.asked("/v1/audio/transcriptions")
    visit.page.get_by_text(DICTATED).wait_for()


STEPS: Final = (first_start, picture_chat, titles, conversation, drawn, edited, read_aloud, knowledge, dictated)


def microphone(server: str, folder: Path) -> list[str]:
    """Arguments of Chromium that let its microphone hear the server's own voice."""
    asked = {"model": "tts-1", "voice": "alloy", "input": DICTATED, "response_format": "wav"}
    said = httpx.post(f"{server}/v1/audio/speech", json=asked, timeout=PATIENCE / 1000).raise_for_status()
    speech = folder / "speech.wav"
    speech.write_bytes(said.content)
    return [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={speech}%noloop",
    ]


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
    given = (each.split("=", 1) for line in lines.splitlines() for each in shlex.split(line.removeprefix("export ")))
    return {name: value.replace(BASE_URL, base_url) for name, value in given}


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10).is_success
    except httpx.TransportError:
        return False


def main() -> int:
    """Do every step, and say how it went; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [step.__name__ for step in STEPS]
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(names)}; all where none is named")
    parser.add_argument("--write", action="store_true", help="keep what was sent and seen, where all steps pass")
    parser.add_argument("--environment", type=Path, help="an environment that has Open WebUI")
    parser.add_argument("--server", help="the URL of a server that runs already")
    asked = parser.parse_args()
    if unknown := set(asked.steps) - set(names):
        parser.error(f"no such step: {', '.join(sorted(unknown))}")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("no Chromium: deploy/packages.sh chromium installs it")
    with tempfile.TemporaryDirectory(prefix="open-webui-") as folder, ExitStack() as running:
        home = Path(folder)
        environment = _installed(asked.environment or home / "environment")
        server = asked.server or running.enter_context(_server(home / "server"))
        (home / "data").mkdir()
        sent: list[Recorded] = []
        recorder = running.enter_context(recording(server, sent))
        url = running.enter_context(open_webui(environment, f"{recorder}/open_webui/v1", home / "data"))
        playwright = running.enter_context(sync_playwright())
        arguments = ["--no-sandbox", "--disable-gpu", *microphone(server, home)]
        browser = running.enter_context(playwright.chromium.launch(executable_path=chromium, args=arguments))
        page = browser.new_page(locale="en-GB", viewport={"width": 1000, "height": 840})
        page.set_default_timeout(PATIENCE)
        visit = Visit(page, url, home, sent)
        failures = [step for step in STEPS if step.__name__ in (asked.steps or names) and not _passes(step, visit)]
        if asked.write and not asked.steps and not failures:
            put(PAGE, MARKS, (f"- {step.__doc__}" for step in STEPS))
            keep("open_webui", _of_every_kind(each for each in sent if each.get("status") and is_kept(each)))
            PICTURE.write_bytes(visit.picture)
    return int(bool(failures))


def _passes(step: Callable[[Visit], None], visit: Visit) -> bool:
    """Do a step and say how it went, with a picture of the page where it failed."""
    try:
        step(visit)
    except Exception as error:  # noqa: BLE001 - it is the result
        picture = Path(tempfile.gettempdir()) / f"open-webui-{os.getpid()}-{step.__name__}.png"
        visit.page.screenshot(path=picture)
        print(f"no: {step.__doc__}: {error} ({picture})", flush=True)  # noqa: T201
        return False
    print(f"yes: {step.__doc__}", flush=True)  # noqa: T201
    return True


def _of_every_kind(sent: Iterable[Recorded]) -> list[Recorded]:
    """The first of those that begin alike: it asks for a title, tags and questions after each answer."""
    kinds: dict[Any, Recorded] = {}
    for each in sent:
        messages = (each.get("body") or {}).get("messages", [])
        kinds.setdefault((each["path"], len(messages), str(messages[:1])[:100]), each)
    return list(kinds.values())


def _installed(folder: Path) -> Environment:
    """The environment in a folder, made where there is none."""
    if folder.exists():
        return Environment(folder, folder / "bin")
    without_gpu = ("--override", ROOT / "deploy" / "without-gpu.txt")
    return python_environment(folder, HERE / "requirements" / "open_webui.txt", *without_gpu)


@contextmanager
def _server(home: Path) -> Iterator[str]:
    """The URL of a server with the default configuration."""
    server = start_server(home)
    try:
        server.wait_until_ready()
        yield server.url
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
