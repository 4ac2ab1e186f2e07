"""Which of ImageNet's classes a word means: WordNet's nouns, read from Debian's `wordnet-base`."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Final

from timm.data import ImageNetInfo

_ROOT: Final = Path(__file__).parent.parent
_FOLDER: Final = _ROOT / ".venv" / "debian" / "usr" / "share" / "wordnet"
_UNPACK: Final = _ROOT / "deploy" / "unpack.sh"
_HYPONYMS: Final = ("~", "~i")


class WordNet:
    """WordNet's nouns: what a word's senses are, and what is below each.

    Attributes:
        senses: of each noun, its synsets, the commonest first.
        below: of each synset, those one step more special.
        words: of each synset, the nouns for it.
    """

    def __init__(self, folder: Path = _FOLDER) -> None:
        """Read the files, unpacking Debian's package first where it is not there yet.

        Raises:
            subprocess.CalledProcessError: the package cannot be had.
        """
        if not (folder / "data.noun").exists():
            subprocess.run([_UNPACK, "wordnet-base"], check=True)  # noqa: S603 - our own script
        self._folder = folder
        self.senses: dict[str, tuple[str, ...]] = {}
        self.below: dict[str, list[str]] = defaultdict(list)
        self.words: dict[str, tuple[str, ...]] = {}
        for line in (folder / "index.noun").read_text().splitlines():
            if not line.startswith(" "):
                parts = line.split()
                count = int(parts[2])
                self.senses[parts[0].replace("_", " ")] = tuple(parts[-count:])
        for line in (folder / "data.noun").read_text().splitlines():
            if not line.startswith(" "):
                self._read_synset(line.split(" | ", maxsplit=1)[0].split())

    def usual_words(self) -> tuple[str, ...]:
        """Single words of every kind that texts were found to use, in a fixed order."""
        found = set()
        for kind in ("noun", "verb", "adj", "adv"):
            for line in (self._folder / f"index.{kind}").read_text().splitlines():
                parts = line.split()
                used = not line.startswith(" ") and int(parts[-1 - int(parts[2])]) > 0
                if used and parts[0].isalpha():
                    found.add(parts[0])
        return tuple(sorted(found))

    def _read_synset(self, parts: list[str]) -> None:
        synset, count = parts[0], int(parts[3], 16)
        self.words[synset] = tuple(parts[4 + 2 * i].replace("_", " ") for i in range(count))
        pointers = parts[5 + 2 * count :]
        for kind, target in zip(pointers[::4], pointers[1::4], strict=False):
            if kind in _HYPONYMS:
                self.below[synset].append(target)

    def classes_of(self, word: str) -> tuple[int, ...]:
        """The ImageNet classes that are a kind of what the word means, by the commonest sense that has any."""
        for synset in self.senses.get(word.lower(), ()):
            found = self._classes_below(synset)
            if found:
                return found
        return ()

    def _classes_below(self, synset: str) -> tuple[int, ...]:
        found, seen, waiting = [], {synset}, [synset]
        while waiting:
            here = waiting.pop()
            if here in imagenet():
                found.append(imagenet()[here])
            for lower in self.below.get(here, ()):
                if lower not in seen:
                    seen.add(lower)
                    waiting.append(lower)
        return tuple(sorted(found))


@cache
def imagenet() -> dict[str, int]:
    """The number of each ImageNet class by its synset."""
    info = ImageNetInfo()
    return {info.index_to_label_name(number).removeprefix("n"): number for number in range(info.num_classes())}
