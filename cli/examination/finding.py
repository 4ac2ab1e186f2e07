"""What was found: a line of `atelier doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """`about` is what was looked at, `mend` the command or setting that puts it right; only what is ok has none."""

    verdict: Verdict
    about: str
    what: str
    mend: str = ""

    def __post_init__(self) -> None:
        if self.verdict != "ok" and not self.mend:
            raise ValueError(f"{self.about}: {self.what}: what mends it is missing")

    def as_json(self) -> dict[str, str]:
        """With the names of the fields as keys."""
        return asdict(self)
