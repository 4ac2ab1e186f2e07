"""What docs/contributing.md shows is applied to a copy of the code, and run there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.environment import ROOT

ROOMS = ("deployments", "models", "stores", "settings")

ENGINE = """
import json, tempfile
from pathlib import Path
import settings
from models.catalog import create_engine
from models.kinds import engines
from models.tasks import ChatJob, Message, TextPart

environ = {"ATELIER_HOME": tempfile.mkdtemp()}
configured = settings.load(Path("serve_config.yaml"), environ)
engine = create_engine(configured.models["echo"])
engine.load()
pieces = list(engine.stream(ChatJob((Message("user", (TextPart("Good morning."),)),)), lambda: False))
text = Path("serve_config.yaml").read_text()
def mistake(old, new):
    Path("wrong.yaml").write_text(text.replace(old, new))
    try:
        settings.load(Path("wrong.yaml"), environ)
    except settings.ConfigurationError as error:
        return str(error)
print(json.dumps([
    "".join(piece.text for piece in pieces),
    engines()["echo"],
    mistake("times: 2", "times: 20"),
    mistake("engine: echo", "engine: ecco"),
]))
"""

SCRIPT = """
import asyncio, json, sys, tempfile
import httpx
import settings
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store

ARGS = {"models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip"}}}
configured = settings.validate(ARGS, {"ATELIER_HOME": tempfile.mkdtemp()})
app = create_app(Atelier(configured, ModelCalls(configured, {}), open_store(configured), None))

async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier.test") as http:
        said = await http.post("/v1/echo", json={"text": "Hello."})
        refused = await http.post("/v1/echo", json={})
        asked = (await http.get("/openapi.json")).json()["paths"]["/v1/echo"]["post"]["requestBody"]
    example = asked["content"]["application/json"]["example"]
    print(json.dumps([said.json(), refused.json()["error"]["param"], example]))

asyncio.run(ask())
"""


def diffs(heading: str) -> str:
    """The diffs under a heading of the page."""
    page = (ROOT / "docs" / "contributing.md").read_text()
    section = page.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(re.findall(r"```diff\n(.*?)```", section, re.DOTALL))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of what serves."""
    for room in ROOMS:
        if (ROOT / room).is_dir():
            shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "builtin"))
        else:
            shutil.copy(ROOT / f"{room}.py", tmp_path)
    shutil.copy(ROOT / "serve_config.yaml", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # which knows the version
    (tmp_path / "models" / "builtin").symlink_to(ROOT / "models" / "builtin")
    return tmp_path


def run_with(copy: Path, heading: str, script: str) -> list[Any]:
    """What a script prints in a copy to which the diffs under a heading are applied."""
    applied = subprocess.run(
        ["git", "apply", "-C1", "-"], input=diffs(heading), cwd=copy, text=True, capture_output=True, check=False
    )
    assert applied.returncode == 0, applied.stderr
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=copy, env={"PYTHONPATH": str(copy)}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return printed


def test_a_new_engine_is_a_file_and_an_entry_of_the_configuration(copy: Path) -> None:
    answer, kind, wrong_option, wrong_name = run_with(copy, "A new engine", ENGINE)
    assert answer == "Good morning. Good morning. "
    assert kind == "vlm"
    assert "models.echo.options.times: 20: input should be less than or equal to 10" in wrong_option
    assert "models.echo.engine: 'ecco': there is no such engine; allowed: diffusion, " in wrong_name
    assert ", echo, " in wrong_name


def test_a_new_family_of_routes_is_a_file_of_routes_a_file_of_fields_and_a_line(copy: Path) -> None:
    said, param, example = run_with(copy, "A new family of routes", SCRIPT)
    assert said == {"text": "Hello.", "models": 0}
    assert param == "text"
    assert example == {"text": "Hello."}
