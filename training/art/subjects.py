"""The table of everyday things: what each is called in seven languages, and by which emoji its drawings are found.

Names begin with the everyday word, which is often not the label that Unicode's CLDR gives an emoji ("hot beverage"):
where it was another, it was put right by hand. No word of a language names two things.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

NameLanguage = Literal["en", "ko", "ja", "zh", "de", "fr", "es"]
NAME_LANGUAGES: tuple[NameLanguage, ...] = get_args(NameLanguage)
"""The languages that things have names in."""

_TABLE = Path(__file__).with_name("subjects.json")


@dataclass(frozen=True)
class Subject:
    """One thing that a picture can be of.

    Attributes:
        name: its English everyday word, which is also its key.
        category: "animals", "food", …
        emoji: code points as "1F408" or "1F408-200D-2B1B"; the usual drawing first, then other views of the same thing.
        labels: what Unicode calls each of them.
        names: what it is called, the everyday word first.
    """

    name: str
    category: str
    emoji: tuple[str, ...]
    labels: tuple[str, ...]
    names: dict[NameLanguage, tuple[str, ...]]


@cache
def subjects() -> dict[str, Subject]:
    """Every thing by its name, in the order of the table."""
    rows = json.loads(_TABLE.read_text(encoding="utf-8"))
    return {
        row["name"]: Subject(
            row["name"],
            row["category"],
            tuple(row["emoji"]),
            tuple(row["emoji"].values()),
            {language: tuple(words) for language, words in row["names"].items()},
        )
        for row in rows
    }
