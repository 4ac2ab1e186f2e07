"""The README's examples, run as they stand against a running server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import validate

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert found, f"the README has no {language} block"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


def test_the_python_example_makes_a_picture_and_gets_a_true_answer(server: Any, folder: Path) -> None:
    script = "\n".join(blocks("python")).replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "red" in done.stdout.lower()
    for drawn in ("circle.png", "star.png"):
        assert (folder / drawn).stat().st_size > 100


def test_the_curl_lines_work(server: Any, folder: Path) -> None:
    if not (folder / "circle.png").exists():
        test_the_python_example_makes_a_picture_and_gets_a_true_answer(server, folder)
    script = "set -e\n" + "\n".join(blocks("sh")).replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "red" in done.stdout
    assert '"score"' in done.stdout
    assert "1\n00:00:00,000 --> " in done.stdout
    for spoken in ("show.mp3", "morning.mp3", "tale.mp3"):
        assert (folder / spoken).stat().st_size > 2000


def test_the_configuration_example_is_valid() -> None:
    for block in blocks("yaml"):
        args = {"models": yaml.safe_load(block), "image_search_enabled": False}
        assert validate(args, {}).models["image-gen"].checkpoint


def test_every_file_that_the_readme_links_to_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
