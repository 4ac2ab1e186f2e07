"""Photographs to test with: Tux Paint's stamps, which come with their names in many languages.

They are under the GPL: they measure, and train nothing.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from training.art.subjects import NameLanguage
from training.wordnet import WordNet

_ROOT: Final = Path(__file__).parent.parent.parent
_FOLDER: Final = _ROOT / ".venv" / "debian" / "usr" / "share" / "tuxpaint" / "stamps"
_UNPACK: Final = _ROOT / "deploy" / "unpack.sh"
_PHOTOGRAPHED: Final = ("animals", "clothes", "food", "hobbies", "household", "medical", "plants", "sports", "vehicles")
_NOT_REAL: Final = ("cartoon", "dinosaur")


@dataclass(frozen=True)
class Photograph:
    """One stamp.

    Attributes:
        path: the picture, RGBA.
        noun: its English everyday word.
        classes: the ImageNet classes that are a kind of it.
        texts: what it is called, a short phrase.
    """

    path: Path
    noun: str
    classes: tuple[int, ...]
    texts: dict[NameLanguage, str]

    def picture(self) -> Image.Image:
        """As RGBA."""
        return Image.open(self.path).convert("RGBA")


def photographs(wordnet: WordNet, folder: Path = _FOLDER) -> list[Photograph]:
    """All stamps of real things whose noun ImageNet has a class for, one for each noun.

    Raises:
        subprocess.CalledProcessError: Debian's package cannot be had.
    """
    if not folder.exists():
        subprocess.run([_UNPACK, "tuxpaint-stamps-default"], check=True)  # noqa: S603 - our own script
    found: dict[str, Photograph] = {}
    for kind in _PHOTOGRAPHED:
        for path in sorted((folder / kind).rglob("*.png")):
            told = path.with_suffix(".txt")
            if not told.exists() or any(part in _NOT_REAL for part in path.parts):
                continue
            texts = _texts(told)
            noun = _noun(texts.get("en", ""), wordnet)
            classes = wordnet.classes_of(noun) if noun else ()
            if classes and noun not in found:
                found[noun] = Photograph(path, noun, classes, texts)
    return list(found.values())


def _texts(path: Path) -> dict[NameLanguage, str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    texts: dict[NameLanguage, str] = {"en": lines[0].strip().rstrip(".") if lines else ""}
    codes: dict[str, NameLanguage] = {"ko": "ko", "ja": "ja", "zh_CN": "zh", "de": "de", "fr": "fr", "es": "es"}
    for line in lines[1:]:
        code, _, said = line.partition(".utf8=")
        if code in codes and said.strip():
            texts[codes[code]] = said.strip().rstrip(".。")
    return texts


def _noun(text: str, wordnet: WordNet) -> str:
    """The longest ending of the phrase that WordNet has a class of ImageNet for."""
    words = re.sub(r"^(a|an|the|some)\s+", "", text.lower()).split()
    words = words[: next((i for i, word in enumerate(words) if word in ("of", "with", "in", "and", "on")), len(words))]
    for first in range(len(words)):
        candidate = " ".join(words[first:])
        for form in (candidate, candidate.removesuffix("s"), candidate.removesuffix("es")):
            if wordnet.classes_of(form):
                return form
    return ""
