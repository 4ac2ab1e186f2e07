"""The designs that drawings come in, where each is from, and what it may be used for.

`packages.json` pins them. What draws reproduces its training pictures closely, so only art whose licence asks for
nothing beyond a notice (Apache, MIT) trains it. What recognises may see CC-BY art too. Designs for judging train
nothing that is shipped: they measure how well a model knows a thing in a style that it never saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Use = Literal["draw", "recognise", "judge"]
_LOCK = Path(__file__).with_name("packages.json")


@dataclass(frozen=True)
class Design:
    """One family of drawings, as one package of the npm registry holds it.

    Attributes:
        name: how it is called here.
        package: the package's name.
        version: the pinned version.
        integrity: the package's digest as npm writes it, "sha512-…".
        licence: SPDX identifier of the drawings' licence.
        use: "draw" trains everything, "recognise" what recognises, "judge" only what measures.
        ink: it is of black lines alone, which are filled with a colour.
    """

    name: str
    package: str
    version: str
    integrity: str
    licence: str
    use: Use
    ink: bool = False


@cache
def designs() -> dict[str, Design]:
    """Every design by its name."""
    return {row["name"]: Design(**row) for row in json.loads(_LOCK.read_text())}


def designs_for(*uses: Use) -> tuple[str, ...]:
    """The names of the designs with one of these uses."""
    return tuple(name for name, design in designs().items() if design.use in uses)
