"""What `atelier --version` says."""

from __future__ import annotations

import tomllib

from typer.testing import CliRunner

from cli.__main__ import app
from cli.environment import ROOT


def test_the_command_says_the_version_of_the_project() -> None:
    done = CliRunner().invoke(app, ["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (done.exit_code, done.stdout) == (0, f"atelier {project['version']}\n")
