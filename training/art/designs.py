"""The designs that drawings come in, where each is from, and what it may be used for.

`packages.json` pins them. What draws reproduces its training pictures closely, so only art whose licence asks for
nothing beyond a notice (Apache, MIT) trains it. What recognises may see art too that asks to name its authors, and
fonts and clip art that are free for any use. Designs for judging train nothing that is shipped: they measure how well a
model knows a thing in a style that it never saw.
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
    """One family of drawings, as one package of the npm registry or of Debian holds it.

    Attributes:
        name: how it is called here.
        package: the package's name.
        licence: SPDX identifier of the drawings' licence.
        use: "draw" trains everything, "recognise" what recognises, "judge" only what measures.
        version: the pinned version; "" for Debian's, which its release pins.
        integrity: the package's digest as npm writes it, "sha512-…"; "" for Debian's.
        ink: it is of black lines alone, which are given the colours that the thing has elsewhere.
        index: which of several drawings of a thing are taken, from 0.
        excluded: things whose name means another thing here, as a bat may be of wood, or that look as another does.
    """

    name: str
    package: str
    licence: str
    use: Use
    version: str = ""
    integrity: str = ""
    ink: bool = False
    index: int = 0
    excluded: tuple[str, ...] = ()


@cache
def designs() -> dict[str, Design]:
    """Every design by its name."""
    rows = json.loads(_LOCK.read_text())
    return {row["name"]: Design(**{**row, "excluded": tuple(row.get("excluded", ()))}) for row in rows}


def designs_for(*uses: Use) -> tuple[str, ...]:
    """The names of the designs with one of these uses."""
    return tuple(name for name, design in designs().items() if design.use in uses)
