"""The kinds of models, and the engines of each kind: the files of `models/*/engines/`, by name."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["image", "vlm", "captioner", "clip", "voice", "asr"]
FOLDERS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "image": "image",
        "vlm": "chat",
        "captioner": "caption",
        "clip": "embedding",
        "voice": "speech",
        "asr": "transcription",
    }
)
"""The folder of models/ in which a kind lives."""


@cache
def engines() -> Mapping[str, Kind]:
    """Every engine that is there, with its kind. Nothing is imported.

    Raises:
        ValueError: two kinds have an engine of the same name.
    """
    found: dict[str, Kind] = {}
    for kind, folder in FOLDERS.items():
        for module in pkgutil.iter_modules([str(Path(__file__).parent / folder / "engines")]):
            if module.name in found:
                raise ValueError(f"{module.name!r} is an engine of {found[module.name]} and of {kind}; one is allowed")
            found[module.name] = kind
    return MappingProxyType(found)
