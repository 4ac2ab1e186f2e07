"""The calls that the page shows beside its results, run as they stand in each of their languages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page

from tests.api.node import Node
from tests.api.pictures import png
from tests.servers import Server
from tests.studio.test_studio import LANGUAGES

EDIT = "{model: 'image-gen', prompt: 'make it green', seed: 7, steps: 2, strength: 0.5, embed_parameters: true}"
CALLS = {
    "an edit": f"changing('edits', {EDIT}, false)",
    "an edit under a mask": "changing('edits', {model: 'image-gen', prompt: 'a blue square', seed: 7, steps: 2}, true)",
    "a variation": "changing('variations', {model: 'image-gen', seed: 7, steps: 2}, false)",
    "words": """talking('vlm-fast', "What isn't \\"red\\"?", false)""",
    "a question about a picture": "talking('vlm-fast', 'What do you see?', true)",
    "speech": "speaking({model: 'voice', voice: 'alloy', input: 'Hello', response_format: 'wav', language: 'en'})",
    "a search": "searching('snippets', 'a red circle')",
}


@pytest.fixture(scope="module")
def folders(node: Node, server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each language a folder with the files that the calls send; the search has something to find."""
    mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (16, 16, 48, 48))
    found = {}
    for language in LANGUAGES:
        folder = found[language] = tmp_path_factory.mktemp(language)
        (folder / "picture.png").write_bytes(png())
        mask.save(folder / "mask.png")
        (folder / "node_modules").symlink_to(node.folder / "node_modules")
    sent = httpx.post(f"{server.url}/v1/projects/snippets/images", files={"file": ("a.png", png())}, timeout=120)
    sent.raise_for_status()
    return found


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_each_call_gives_the_same_in_every_language(page: Page, folders: dict[str, Path], call: str) -> None:
    module = page.locator("link[href$='js/examples.js']").get_attribute("href")
    shown = page.evaluate(f"async () => (await import(new URL('{module}', location.href).href)).{call}")
    assert [language for language, _ in shown] == list(LANGUAGES)
    running = {language: begun(language, code, folders[language]) for language, code in shown}
    given = set()
    for language, process in running.items():
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, f"{language}: {errors}"
        made = [folders[language] / name for name in ("changed.png", "speech.wav")]
        made = [each for each in made if each.exists()]
        assert made or said.strip(), language
        for each in made:
            given.add(each.read_bytes())
            each.unlink()
    assert len(given) <= 1


def begun(language: str, code: str, folder: Path) -> subprocess.Popen[str]:
    script = folder / "script"
    script.write_text(code)
    with script.open() as source:
        return subprocess.Popen(
            LANGUAGES[language], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
        )
