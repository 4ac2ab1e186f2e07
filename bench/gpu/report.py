"""What a run has found: `gpu.json`, written after every figure, and a table for people in `gpu.md`."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True)
class Figure:
    """One measured value.

    `beside` is the same work by the bare library in the same run, in the same unit. A value meets its `target` when it
    is at most that, or with `at_least`, at least.
    """

    what: str
    value: float
    unit: str
    beside: float | None = None
    target: float | None = None
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of the bare library's."""
        return self.value / self.beside if self.beside else None

    @property
    def meets_target(self) -> bool | None:
        """None where there is no target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class Problem:
    """Something that should have worked and did not, in one line; its part has failed."""

    line: str


@dataclass(frozen=True)
class LeftOut:
    """Something that this machine or this run has no room for, in one line; its part goes on."""

    line: str


@dataclass(frozen=True)
class Facts:
    """What the machine is: name and value."""

    facts: dict[str, str]


Message = Figure | Problem | LeftOut | Facts
"""What a part says while it runs."""


@dataclass
class PartReport:
    """One part of the run."""

    name: str
    title: str
    state: State = "waiting"
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def fail(self, line: str) -> None:
        """Note why the part has failed."""
        self.problems.append(line)
        self.state = "failed"


@dataclass
class Report:
    """A whole run."""

    folder: Path
    tiny: bool
    parts: list[PartReport]
    facts: dict[str, str] = field(default_factory=dict)
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def failed(self) -> int:
        """How many parts have failed; one that was never begun has failed too."""
        return sum(part.state != "done" for part in self.parts)

    def take(self, part: PartReport, message: Message) -> None:
        """Keep what a part says, on disk too."""
        match message:
            case Figure():
                part.figures.append(message)
            case Problem():
                part.problems.append(message.line)
            case LeftOut():
                part.left_out.append(message.line)
            case Facts():
                self.facts |= message.facts
        self.save()

    def save(self) -> None:
        """Write `gpu.json`, whole or not at all."""
        self._write("gpu.json", json.dumps(self._document(), indent=1) + "\n")

    def save_table(self) -> str:
        """Write `gpu.md`; its text."""
        table = self.table()
        self._write("gpu.md", table)
        return table

    def table(self) -> str:
        """The run as Markdown."""
        machine = ", ".join(f"{name} {value}" for name, value in self.facts.items()) or "unknown"
        lines = [f"Machine: {machine}", ""]
        if self.tiny:
            lines += ["Tiny checkpoints on a CPU: the figures say only that the parts run.", ""]
        lines += ["| part | figure | value | bare | ratio | target | met |", "|---|---|---:|---:|---:|---:|---|"]
        for part in self.parts:
            lines += [_row(part.name, figure) for figure in part.figures]
        lines.append("")
        for part in self.parts:
            lines.append(f"- {part.name}: {part.state}, {part.seconds:.0f} s")
            lines += [f"  - failed: {line}" for line in part.problems]
            lines += [f"  - left out: {line}" for line in part.left_out]
        return "\n".join(lines) + "\n"

    def _document(self) -> dict[str, Any]:
        parts = []
        for part in self.parts:
            figures = [
                {**asdict(each), "ratio": each.ratio, "meets_target": each.meets_target} for each in part.figures
            ]
            parts.append({**asdict(part), "figures": figures})
        return {"began": self.began, "tiny": self.tiny, "machine": self.facts, "failed": self.failed, "parts": parts}

    def _write(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text, "utf-8")
        os.replace(new, self.folder / name)  # noqa: PTH105 - atomic is the word


def _row(part: str, figure: Figure) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"

    met = {None: "", True: "yes", False: "no"}[figure.meets_target]
    sign = "" if figure.target is None else ("≥ " if figure.at_least else "≤ ")
    cells = (
        part,
        figure.what,
        f"{number(figure.value)} {figure.unit}",
        number(figure.beside),
        number(figure.ratio),
        sign + number(figure.target),
        met,
    )
    return "| " + " | ".join(cells) + " |"
