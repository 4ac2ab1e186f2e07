"""Answers in JSON: keys as people name them, of any number and order, with values that a scene has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from training import wordings as w
from training.captions import COLOUR_NOUNS, PLACE_NOUNS, Language
from training.composer.scene import Scene
from training.describer import words as d
from training.describer.kinds import kind_of
from training.describer.naming import category, ground, in_order, largest, name, sentence, written
from training.describer.questions import Asked
from training.questions import fill

_EMPTY: Final[dict[Language, str]] = {"en": "none", "ko": "없음", "ja": "なし"}


def structured(scene: Scene, rng: np.random.Generator, language: Language) -> Asked:
    """One object of one to five keys."""
    meanings = list(_VALUES)
    chances = np.array([3.0 if meaning in ("name", "count", "ground", "objects") else 1.0 for meaning in meanings])
    count = 1 + int(rng.choice(5, p=[0.3, 0.25, 0.2, 0.15, 0.1]))
    chosen = rng.choice(len(meanings), count, replace=False, p=chances / chances.sum())
    told: dict[str, Any] = {}
    for number in chosen:
        keys = d.JSON_KEYS[meanings[int(number)]]
        told[keys[int(rng.integers(len(keys)))]] = _VALUES[meanings[int(number)]](scene, language)
    answer = json.dumps(told, ensure_ascii=False)
    chance = rng.random()
    if chance < 0.35:  # a form is held to by the server: the question says nothing of it, and the first key is given
        question = fill(w.DESCRIBE if rng.random() < 0.6 else d.JSON_KEYED, language, rng)
        return Asked("json", language, question, answer, answer.index(": ") + 2)
    question = fill(d.JSON_KEYED if chance < 0.55 else d.JSON_ASKED, language, rng)
    if chance < 0.75:
        listed = ", ".join(told)
        said = f"Keys: {listed}." if rng.random() < 0.5 else json.dumps(dict.fromkeys(told, "..."))
        question = f"{question} {said}"
    return Asked("json", language, question, answer)


def _first(scene: Scene, language: Language, kind: str | None = None) -> str:
    """The name of the only thing, or of the largest, of a kind if one is given."""
    fitting = [f for f in in_order(scene) if kind is None or kind_of(f) == kind]
    return name(largest(fitting), language) if fitting else _EMPTY[language]


def _position(scene: Scene, language: Language) -> str:
    if not scene.figures:
        return _EMPTY[language]
    return PLACE_NOUNS[language][largest(in_order(scene)).place][0]


def _ground_colour(scene: Scene, language: Language) -> str:
    return ground(scene, language) if scene.is_painted else COLOUR_NOUNS[language][scene.ground][0]  # type: ignore[index]


def _has(kind: str) -> Callable[[Scene, Language], bool]:
    return lambda scene, _: any(kind_of(f) == kind for f in scene.figures)


def _category(scene: Scene, language: Language) -> str:
    if not scene.figures:
        return _EMPTY[language]
    return category(largest(in_order(scene)), language)


_VALUES: Final[dict[str, Callable[[Scene, Language], Any]]] = {
    "name": _first,
    "animal": lambda scene, language: _first(scene, language, "animals"),
    "food": lambda scene, language: _first(scene, language, "food"),
    "vehicle": lambda scene, language: _first(scene, language, "vehicles"),
    "count": lambda scene, _: len(scene.figures),
    "ground": ground,
    "ground colour": _ground_colour,
    "position": _position,
    "text": lambda scene, _: written(scene),
    "objects": lambda scene, language: [name(figure, language) for figure in in_order(scene)],
    "has text": lambda scene, _: scene.word is not None,
    "has animal": _has("animals"),
    "has people": _has("people"),
    "is safe": lambda *_: True,
    "is unsafe": lambda *_: False,
    "description": sentence,
    "category": _category,
}
