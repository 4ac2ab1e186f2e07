"""Every noun that the embedder knows, in the languages that it has names in, and which pictures it fits.

What a picture can be of is numbered: ImageNet's thousand classes, then the things that there are drawings of. A noun
fits several ("dog": a hundred breeds, and the drawing of a dog).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from training.art.subjects import NAME_LANGUAGES, NameLanguage, subjects
from training.wordnet import WordNet, imagenet

CLASSES: Final = 1000
_WIDEST: Final = 250
"""Classes that a noun may have below it; "artifact" says nothing."""
_LONGEST: Final = 3
"""Words of a noun."""
_NOT_IN_IMAGENET: Final = frozenset({
    "mouse", "seashell", "earth", "bank", "satellite", "kite", "key", "runner", "ear", "gear", "microscope", "shield",
    "rocket", "potato", "pudding",
})  # fmt: skip
"""Things for which WordNet finds a class of another meaning (kite: the bird)."""
_TEMPLATES: Final[dict[NameLanguage, tuple[str, ...]]] = {
    "en": ("{}", "{}", "{}", "a {}", "a photo of a {}", "a picture of a {}", "a drawing of a {}", "an image of {}",
           "{} photo", "the {}", "show me a {}", "find {}", "pictures of {}", "a cute {}", "photograph of a {}"),
    "ko": ("{}", "{}", "{} 사진", "{} 그림", "{} 이미지", "{}이 있는 사진", "귀여운 {}", "{} 찾아줘"),
    "ja": ("{}", "{}", "{}の写真", "{}の絵", "{}の画像", "かわいい{}", "{}を探して", "{}のイラスト"),
    "zh": ("{}", "{}", "{}的照片", "{}的图片", "一张{}的图片", "可爱的{}"),
    "de": ("{}", "{}", "ein Foto von {}", "ein Bild von {}", "{} Foto", "Zeichnung: {}"),
    "fr": ("{}", "{}", "une photo de {}", "une image de {}", "dessin de {}", "photo {}"),
    "es": ("{}", "{}", "una foto de {}", "una imagen de {}", "dibujo de {}", "foto {}"),
}  # fmt: skip


@dataclass(frozen=True)
class Noun:
    """A meaning: its words in each language that has some, and the numbers of the pictures that it fits."""

    words: dict[NameLanguage, tuple[str, ...]]
    fits: tuple[int, ...]


@dataclass(frozen=True)
class Lexicon:
    """All nouns.

    Attributes:
        nouns: those of the things that there are drawings of come first, in the order of their table.
        table: bool [nouns, classes + things], which fits what.
    """

    nouns: tuple[Noun, ...]
    table: torch.Tensor

    @classmethod
    def read(cls, wordnet: WordNet) -> Lexicon:
        """From the table of things and from WordNet."""
        things = list(subjects().values())
        photographed = [_classes(subject.name, subject.names["en"], wordnet) for subject in things]
        nouns = [
            Noun(subject.names, (*classes, CLASSES + number))
            for number, (subject, classes) in enumerate(zip(things, photographed, strict=True))
        ]
        taken = {name for subject in things for name in subject.names["en"]}
        for words, classes in _of_wordnet(wordnet).items():
            names = tuple(word for word in words if word.lower() not in taken)
            if names:
                held = set(classes)
                drawn = [CLASSES + i for i, below in enumerate(photographed) if below and held.issuperset(below)]
                nouns.append(Noun({"en": names}, (*classes, *drawn)))
        table = torch.zeros(len(nouns), CLASSES + len(things), dtype=torch.bool)
        for row, noun in enumerate(nouns):
            table[row, list(noun.fits)] = True
        return cls(tuple(nouns), table)


def _classes(name: str, words: tuple[str, ...], wordnet: WordNet) -> tuple[int, ...]:
    if name in _NOT_IN_IMAGENET:
        return ()
    return next((classes for word in words if (classes := wordnet.classes_of(word))), ())


def _of_wordnet(wordnet: WordNet) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The words of every synset that is an ImageNet class or has some below it, with those classes."""
    above: dict[str, list[str]] = defaultdict(list)
    for synset, lower in wordnet.below.items():
        for each in lower:
            above[each].append(synset)
    held: dict[str, set[int]] = defaultdict(set)
    for leaf, number in imagenet().items():
        waiting, seen = [leaf], set()
        while waiting:
            here = waiting.pop()
            if here not in seen:
                seen.add(here)
                held[here].add(number)
                waiting += above[here]
    found = {}
    for synset, classes in held.items():
        words = tuple(word for word in wordnet.words.get(synset, ()) if word.count(" ") < _LONGEST)
        if words and len(classes) <= _WIDEST:
            found[words] = tuple(sorted(classes))
    return found


def phrase(noun: Noun, rng: np.random.Generator, language: NameLanguage | None = None) -> str:
    """What someone may type to find it."""
    if language is None:
        spoken = [each for each in NAME_LANGUAGES if each in noun.words]
        chances = np.array([3.0 if each == "en" else 1.5 if each in ("ko", "ja") else 1.0 for each in spoken])
        language = spoken[int(rng.choice(len(spoken), p=chances / chances.sum()))]
    words, frames = noun.words[language], _TEMPLATES[language]
    word = words[0] if rng.random() < 0.6 else words[int(rng.integers(len(words)))]
    return frames[int(rng.integers(len(frames)))].format(word)
