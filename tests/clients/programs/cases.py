"""What a program of a client is made of: one function for each ability, run one after the other.

Needs the standard library only: it runs in the environments of the clients.
"""

from __future__ import annotations

import base64
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

MODEL: Final = "gpt-4o-mini"
QUESTION: Final = "What colour is the circle?"
PNG: Final = (Path(__file__).parent / "circle.png").read_bytes()
PNG_BASE64: Final = base64.b64encode(PNG).decode()
PNG_URL: Final = f"data:image/png;base64,{PNG_BASE64}"
WANTS_PICTURE: Final = [
    {"type": "text", "text": QUESTION},
    {"type": "image_url", "image_url": {"url": PNG_URL}},
]
_CASES: dict[str, Callable[[str], object]] = {}


def case(run: Callable[[str], object]) -> Callable[[str], object]:
    """Something the client can do; the function is called with the base URL for it, and raises where it fails.

    Its name begins with the ability that it belongs to (`structured`, `structured_strict`).
    """
    _CASES[run.__name__] = run
    return run


def is_picture(data: bytes) -> bool:
    """A PNG or a JPEG."""
    return data.startswith((b"\x89PNG", b"\xff\xd8"))


def is_mp3(data: bytes) -> bool:
    """By its tag, or the mark of its first frame."""
    return data.startswith(b"ID3") or (data[0] == 0xFF and data[1] & 0xE0 == 0xE0)


def cases() -> list[str]:
    """The names of all cases."""
    return list(_CASES)


def main() -> None:
    """Run every case against the server at `argv[1]`, in which `CASE` stands for its name; a line of JSON for each."""
    for name, run in _CASES.items():
        failure = None
        try:
            run(sys.argv[1].replace("CASE", name))
        except Exception as error:  # noqa: BLE001 - it is the result
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps({"case": name, "failure": failure}), flush=True)  # noqa: T201
