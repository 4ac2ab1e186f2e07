"""What docs/contributing.md shows is applied to a copy of the code, and run there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.environment import ROOT

ROOMS = ("deployments", "models", "stores", "settings")

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
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # which knows the version
    (tmp_path / "models" / "builtin").symlink_to(ROOT / "models" / "builtin")
    return tmp_path


def test_a_new_family_of_routes_is_a_file_of_routes_a_file_of_fields_and_a_line(copy: Path) -> None:
    applied = subprocess.run(
        ["git", "apply", "-C1", "-"], input=diffs("A new family of routes"), cwd=copy, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert applied.returncode == 0, applied.stderr
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=copy, env={"PYTHONPATH": str(copy)}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, param, example = json.loads(done.stdout.splitlines()[-1])
    assert said == {"text": "Hello.", "models": 0}
    assert param == "text"
    assert example == {"text": "Hello."}
