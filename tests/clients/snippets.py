"""The lines of docs/clients.md that say how a client is pointed here: read, so that they are run as they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cli.environment import ROOT

PAGE: Final = ROOT / "docs" / "clients.md"
BASE_URL: Final = "http://localhost:8000/v1"
_BLOCK: Final = re.compile(r"<!-- run as (\w+) -->\n```(\w+)\n(.*?)```", re.DOTALL)
_COMMANDS: Final = {
    "python": ("python", "snippet.py"),
    "js": ("node", "snippet.mjs"),
    "sh": ("bash", "-eu", "snippet.sh"),
}


@dataclass(frozen=True)
class Snippet:
    """Lines of the page, and the command that runs the file that they are written to."""

    command: tuple[str, ...]
    text: str

    def pointed_at(self, base_url: str) -> str:
        """The lines with another server in them."""
        return self.text.replace(BASE_URL, base_url)


def snippets() -> dict[str, Snippet]:
    """The lines of each client."""
    found = _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return {client: Snippet(_COMMANDS[language], text) for client, language, text in found}
