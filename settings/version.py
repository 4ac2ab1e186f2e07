"""The version of what runs, from `pyproject.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path


def version() -> str:
    """As the project states it, such as `0.1.0`; what is installed of it may be of another day."""
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])
