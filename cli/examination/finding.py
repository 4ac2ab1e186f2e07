"""What was found: a line of `atelier doctor`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """`about` is what was looked at, `mend` the command, or the setting, that puts it right."""

    verdict: Verdict
    about: str
    what: str
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """With the names of the fields as keys."""
        return asdict(self)
