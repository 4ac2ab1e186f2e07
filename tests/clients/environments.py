"""Where a client runs: its packages, pinned, in a folder of their own.

`requirements/NAME.txt` is for uv, with a program `programs/NAME.py`; `requirements/NAME.json` is a package.json for
npm, with a program `programs/NAME.mjs`. Node and npm come with the development packages, not from the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.environment import ROOT
from tests.api.node import NODE, NPM

HERE: Final = Path(__file__).parent
_UV: Final = ROOT / ".venv" / "bin" / "uv"
_SECONDS: Final = 600


@dataclass(frozen=True)
class Environment:
    """A folder with a client's packages; `binaries` are its programs."""

    folder: Path
    binaries: Path

    def run(self, command: Sequence[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder, with nothing of the developer's own settings."""
        path = f"{self.binaries}:{Path(NODE).parent}:/usr/bin:/bin"
        return subprocess.run(
            command,
            cwd=self.folder,
            env={"PATH": path, "HOME": str(self.folder), **environ},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


def clients() -> list[str]:
    """Every client that has a program."""
    return sorted(path.stem for path in (HERE / "requirements").iterdir() if path.stem != "open_webui")


def pinned(client: str) -> str:
    """The package that the client is, and its version."""
    requirements = HERE / "requirements"
    if (path := requirements / f"{client}.json").exists():
        name, version = next(iter(json.loads(path.read_text(encoding="utf-8"))["dependencies"].items()))
        return f"{name} (npm) {version}"
    return (requirements / f"{client}.txt").read_text(encoding="utf-8").split()[0].replace("==", " ")


def program(client: str) -> list[str]:
    """The command that runs a client's program, in its environment."""
    return ["node", f"{client}.mjs"] if _is_node(client) else ["python", f"{client}.py"]


def installed(client: str, folder: Path) -> Environment:
    """Install a client below `folder`, its program beside it."""
    mine = folder / client
    if _is_node(client):
        mine.mkdir()
        shutil.copy(HERE / "requirements" / f"{client}.json", mine / "package.json")
        npm = [NODE, NPM, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"]
        subprocess.run(npm, cwd=mine, check=True)
        environment = Environment(mine, mine / "node_modules" / ".bin")
    else:
        environment = python_environment(mine, HERE / "requirements" / f"{client}.txt")
    for path in (HERE / "programs").iterdir():
        if path.stem in (client, "cases", "circle"):
            shutil.copy(path, mine)
    return environment


def python_environment(folder: Path, requirements: Path, *more: str | Path) -> Environment:
    """An environment of uv; `more` are arguments of its `pip install`."""
    subprocess.run([_UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    links = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")  # uv reads only its own
    install: list[str | Path] = [
        _UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        folder / "bin" / "python",
        "--requirement",
        requirements,
    ]
    subprocess.run([*install, *more], check=True, env=os.environ | ({"UV_FIND_LINKS": links} if links else {}))
    return Environment(folder, folder / "bin")


def _is_node(client: str) -> bool:
    return (HERE / "requirements" / f"{client}.json").exists()
