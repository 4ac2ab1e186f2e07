"""Photographs that were never taken: what the network guesses of them, and what is said about that.

No photograph trains anything here. A feature that points where one of ImageNet's class vectors does, with noise, stands
for one; the network's own classifier guesses at it as it would at a real one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from timm.data import ImageNetInfo
from torch.nn import functional

from models.cells import load_trunk
from training import wordings as w
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.describer import words as d
from training.describer.naming import a
from training.describer.pool import FOLDER
from training.describer.questions import Asked, capital, one
from training.embedder.lexicon import CLASSES, Lexicon
from training.questions import TASK_PROMPTS, fill, in_manner
from training.wordnet import WordNet

_LIKENESS: Final = (0.12, 0.5)
"""How much of a feature, as a cosine, points where its class does; 0.25 in real ones, measured."""
_LENGTH: Final = (9.0, 16.0)
_SURE: Final = 0.3
"""A class of this probability is named."""
_TOGETHER: Final = 0.4
"""Where none is, what the classes are that have this probability together: so many dogs are a dog."""
_UNLIKELY: Final = 0.05
"""What has less than this together is not there."""
_KNOWN: Final = 0.12
"""And where they are nothing that has a name, the likeliest class, but for one below this probability."""
_WIDEST: Final = 12
"""Classes that a thing's name may stand for, in Korean and Japanese."""


_BARE: Final = re.compile(
    r"\b(?:binoculars|sunglasses|trunks|bars|goggles|scissors|grapes|fries|noodles|gloves|socks|jeans|shorts|glasses"
    r"|headphones|brass|wool|velvet|hay|corn|broccoli|guacamole|dough|potato mash|mashed potato|tissue|wine|espresso"
    r"|eggnog|carbonara|consomme|sauce|bread|rice|food|furniture|clothing|cheese|meat|butter|milk|coffee|soup|popcorn"
    r"|pancakes|cherries|chopsticks|ice cream)$",
    re.IGNORECASE,
)
"""English nouns that take no "a"."""


def _with_a(phrase: str) -> str:
    return phrase if _BARE.search(phrase) else a(phrase)


@dataclass(frozen=True)
class Photographs:
    """What can be photographed.

    Attributes:
        names: of each class in each language; in English where a language has none.
        nouns: English, Korean and Japanese words that fit some class.
        fits: float32 [words, 1000] of each language, 1 for the classes that a word fits.
        things: names of things that ImageNet has classes of.
        held: float32 [things, 1000], 1 for the classes of each.
        directions: float32 [1000, 1280], of length 1.
        weights: float32 [1000, 1280], the classifier's.
        biases: float32 [1000].
        middle: float32 [1280], the mean feature of photographs.
        spread: float32 [1280], of features around it.
    """

    names: dict[Language, tuple[str, ...]]
    nouns: dict[Language, tuple[str, ...]]
    fits: dict[Language, torch.Tensor]
    things: dict[Language, tuple[str, ...]]
    held: torch.Tensor
    directions: torch.Tensor
    weights: torch.Tensor
    biases: torch.Tensor
    middle: torch.Tensor
    spread: torch.Tensor

    @classmethod
    def of(cls, trunk: Any, lexicon: Lexicon) -> Photographs:
        """From the network and the lexicon."""
        info = ImageNetInfo()
        english = tuple(info.index_to_description(i).split(",")[0].strip() for i in range(CLASSES))
        names: dict[Language, tuple[str, ...]] = {"en": english}
        nouns: dict[Language, tuple[str, ...]] = {}
        fits: dict[Language, torch.Tensor] = {}
        table = lexicon.table[:, :CLASSES].float()
        for language in LANGUAGES:
            said = [
                (word, row)
                for row, noun in enumerate(lexicon.nouns)
                for word in noun.words.get(language, ())[:2]
                if table[row].any()
            ]
            nouns[language] = tuple(word for word, _ in said)
            fits[language] = table[[row for _, row in said]]
            if language != "en":
                found = list(english)
                for noun in sorted(lexicon.nouns, key=lambda noun: -len(noun.fits)):
                    held = [number for number in noun.fits if number < CLASSES]
                    if language in noun.words and (len(held) <= _WIDEST or "dog" in noun.words["en"]):
                        for number in held:
                            found[number] = noun.words[language][0]
                names[language] = tuple(found)
        count = len(subjects())
        photographed = table[:count].any(1).nonzero().flatten().tolist()
        things: dict[Language, tuple[str, ...]] = {
            language: tuple(lexicon.nouns[i].words[language][0] for i in photographed) for language in LANGUAGES
        }
        # Before its last rectifier a feature has the mean and spread that batch norm gave it.
        norm = trunk.bn2
        seed = torch.Generator().manual_seed(0)
        seen = (norm.bias + norm.weight.abs() * torch.randn(4000, len(norm.bias), generator=seed)).clamp(0, 6).detach()
        vectors = trunk.classifier.weight.detach()
        return cls(
            names,
            nouns,
            fits,
            things,
            table[photographed],
            functional.normalize(vectors - vectors.mean(0), dim=1),
            vectors,
            trunk.classifier.bias.detach(),
            seen.mean(0),
            seen.std(0),
        )

    def draw(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled features, float32 [count, 1280], and the classes that they are of."""
        classes = torch.from_numpy(rng.integers(CLASSES, size=count))
        noise = torch.from_numpy(rng.standard_normal((count, len(self.middle)), np.float32)) * self.spread
        likeness = torch.from_numpy(rng.uniform(*_LIKENESS, (count, 1)).astype(np.float32))
        towards = likeness * self.directions[classes] + (1 - likeness**2).sqrt() * functional.normalize(noise, dim=1)
        length = torch.from_numpy(rng.uniform(*_LENGTH, (count, 1)).astype(np.float32))
        return self.middle + length * towards, classes

    def guesses(self, pooled: torch.Tensor) -> torch.Tensor:
        """float32 [n, 1000]."""
        return (pooled @ self.weights.T + self.biases).softmax(-1)

    def named(self, guesses: torch.Tensor, language: Language) -> str | None:
        """What a guess, float32 [1000], comes to in words; None for nothing."""
        top = int(guesses.argmax())
        is_sure = float(guesses[top]) >= _SURE
        if is_sure and (language == "en" or self.names[language][top] != self.names["en"][top]):
            return self.names[language][top]
        together = self.held @ guesses
        likely: list[int] = torch.nonzero(together >= _TOGETHER).flatten().tolist()
        if likely:
            return self.things[language][min(likely, key=lambda thing: float(self.held[thing].sum()))]
        return self.names[language][top] if float(guesses[top]) >= _KNOWN else None

    def ask(self, guesses: torch.Tensor, rng: np.random.Generator, language: Language) -> Asked:
        """Something to ask about a photograph of which this is the guess, float32 [1000]."""
        top = int(guesses.argmax())
        found = self.named(guesses, language)
        known, name = found is not None, found or self.names[language][top]
        said = _with_a(name) if language == "en" else name
        chance = rng.random()
        question, answer, kind = "", d.NOTHING_KNOWN[language], "photograph"
        given = 0
        if chance < 0.34:
            question = fill(w.DESCRIBE if rng.random() < 0.6 else w.CAPTION, language, rng)
            if language == "en" and rng.random() < 0.25:
                question = TASK_PROMPTS["caption"]
            if known:
                answer = d.PHOTO_OF[language].format(name=name, a_name=said)
        elif chance < 0.56:
            question = fill(d.WHAT_THING, language, rng)
            if known:
                answer = capital(name if "one word" in question.lower() or language != "en" else said)
        elif chance < 0.62:
            question = fill(w.DETAIL if rng.random() < 0.6 else w.ANALYSE, language, rng)
            if language == "en" and rng.random() < 0.4:
                question = TASK_PROMPTS["describe"]
            if known:
                answer = d.PHOTO_OF[language].format(name=name, a_name=said)
        elif chance < 0.67:
            question = fill(d.OBJECTS, language, rng)
            answer = capital(name) if known else d.UNKNOWN[language]
        elif chance < 0.85:
            question, answer = self._yes_no(guesses, language, rng)
        elif chance < 0.9 and known:
            key = one(d.JSON_KEYS["name" if rng.random() < 0.7 else "description"], rng)
            value: Any = name if key in d.JSON_KEYS["name"] else d.PHOTO_OF[language].format(name=name, a_name=said)
            if rng.random() < 0.3:
                key, value = one(d.JSON_KEYS["objects"], rng), [name]
            question, answer = fill(d.JSON_ASKED, language, rng), json.dumps({key: value}, ensure_ascii=False)
            if rng.random() < 0.5:  # held to a form, as scenes are
                question, given = fill(w.DESCRIBE, language, rng), answer.index(": ") + 2
        elif chance < 0.94 and known:
            lead = f"{one(d.LEADS, rng)} "
            language, question, given = "en", TASK_PROMPTS["caption"], len(lead)
            answer = f"{lead}{_with_a(self.named(guesses, 'en') or self.names['en'][top])}."
        else:
            tables = (d.BEYOND, w.COUNT_ALL, w.READ, d.GROUND, w.BACKGROUND)
            question = fill(tables[int(rng.integers(len(tables)))], language, rng)
            answer = d.UNKNOWN[language]
        return Asked(kind, language, in_manner(question, language, rng), answer, given)

    def _yes_no(self, guesses: torch.Tensor, language: Language, rng: np.random.Generator) -> tuple[str, str]:
        yes, no = w.YES_NO[language]
        if rng.random() < 0.15:
            return fill(d.UNSAFE, language, rng), no
        words, likely = self.nouns[language], self.fits[language] @ guesses
        fitting = torch.nonzero(likely >= _TOGETHER).flatten().tolist()
        if fitting and rng.random() < 0.5:
            word, answer = words[fitting[int(rng.integers(len(fitting)))]], yes
        else:
            others = torch.nonzero(likely < _UNLIKELY).flatten().tolist()
            word, answer = words[others[int(rng.integers(len(others)))]], no
        a_name = _with_a(word) if language == "en" else word
        return fill(w.IS_THERE, language, rng, name=word, a_name=a_name), answer


def open_photographs() -> Photographs:
    """All that can be photographed, kept under `.runs/describer`: a machine that only trains has no WordNet."""
    kept = FOLDER / "photographs.pt"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(vars(Photographs.of(load_trunk(), Lexicon.read(WordNet()))), kept)
    held = torch.load(kept, weights_only=True)
    return Photographs(**{name: _single(part) for name, part in held.items()})


def _single(part: Any) -> Any:
    """Numbers as float32, which may have been kept in half of it."""
    if isinstance(part, dict):
        return {language: _single(each) for language, each in part.items()}
    return part.float() if isinstance(part, torch.Tensor) else part
