"""How good are the built-in models? `python -m training.evaluate [--only image]` prints one table against the bars.

Each model measures itself in a module of its own with `evaluate() -> list[Row]`; `PARTS` names these modules. Scenes
come from `fresh_scenes`, whose seeds no training uses.
"""

from __future__ import annotations

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training.world import Scene, random_scene

MODELS: Final = Path(__file__).parent.parent / "models" / "builtin"
"""Where the trained checkpoints lie."""
PARTS: Final = {
    "image": "training.picture.shapes",
    "clip": "training.evaluate_clip",
    "vlm": "training.evaluate_vlm",
    "blip": "training.evaluate_blip",
    "calls": "training.evaluate_calls",
    "describer": "training.describer.measuring",
    "picture": "training.picture.measuring",
}
"""A module with `missing_command() -> str | None` names the command that makes what it measures with."""
_HELD_OUT_SEED = 900_000_000


@dataclass(frozen=True)
class Row:
    """One measured figure: `value` and `bar` (what it must reach, if anything) are fractions, over `count` cases."""

    model: str
    measure: str
    value: float
    bar: float | None
    count: int

    @property
    def passed(self) -> bool:
        """Whether the bar is reached; figures without a bar only inform."""
        return self.bar is None or self.value >= self.bar


def fresh_scenes(
    count: int, *, things: tuple[float, ...] = (0.0, 0.6, 0.28, 0.12), word: float = 0.0, offset: int = 0
) -> list[Scene]:
    """Scenes of seeds that no training uses, the same ones at every call; `offset` gives another stretch of them."""
    return [
        random_scene(np.random.default_rng((_HELD_OUT_SEED, offset + i)), things=things, word=word)
        for i in range(count)
    ]


def as_table(rows: list[Row]) -> str:
    """A markdown table, one line a figure."""
    lines = ["| Model | Measure | Reached | Bar | Cases | |", "|---|---|---:|---:|---:|---|"]
    for row in rows:
        bar = "" if row.bar is None else f"{row.bar:.1%}"
        verdict = "" if row.bar is None else "pass" if row.passed else "**below**"
        lines.append(f"| {row.model} | {row.measure} | {row.value:.1%} | {bar} | {row.count} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(PARTS), nargs="+", help="measure these models only")
    given = parser.parse_args()
    rows: list[Row] = []
    notes = []
    for part in given.only or PARTS:
        module = importlib.import_module(PARTS[part])
        command = module.missing_command() if hasattr(module, "missing_command") else None
        if command:
            notes.append(f"{part} is not measured: `{command}` makes what it is measured with")
        else:
            rows += module.evaluate()
    print(as_table(rows))
    for note in notes:
        print(note)
    if given.only and notes:
        raise SystemExit(1)
    if not all(row.passed for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
