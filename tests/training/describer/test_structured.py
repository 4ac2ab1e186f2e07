"""Answers in JSON: they parse, and every value is what the scene has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.training.describer.scenes import scene, shape, thing
from training import wordings as w
from training.captions import LANGUAGES, Language
from training.composer.scene import Scene
from training.describer import words as d
from training.describer.pool import scene_of
from training.describer.structured import structured

_MEANINGS = {key: meaning for meaning, keys in d.JSON_KEYS.items() for key in keys}
_STREET = scene(thing("car", "right"), thing("cat", "left"), ground="beach", word="HELLO")
_RIGHT: dict[Language, dict[str, Any]] = {
    "en": {
        "name": "cat", "animal": "cat", "food": "none", "vehicle": "car", "ground": "a beach",
        "ground colour": "a beach", "position": "left", "objects": ["cat", "car"], "category": "animal",
        "description": 'A cat and a car on the beach, with the text "HELLO".',
    },
    "ko": {
        "name": "고양이", "animal": "고양이", "food": "없음", "vehicle": "자동차", "ground": "해변",
        "ground colour": "해변", "position": "왼쪽", "objects": ["고양이", "자동차"], "category": "동물",
        "description": '해변에 고양이와 자동차가 있고 "HELLO"라고 쓰여 있습니다.',
    },
    "ja": {
        "name": "猫", "animal": "猫", "food": "なし", "vehicle": "車", "ground": "ビーチ",
        "ground colour": "ビーチ", "position": "左", "objects": ["猫", "車"], "category": "動物",
        "description": "ビーチに猫と車があり、「HELLO」と書かれています。",
    },
}  # fmt: skip
_IN_ANY_LANGUAGE = {
    "count": 2, "text": "HELLO", "has text": True, "has animal": True, "has people": False, "is safe": True,
    "is unsafe": False,
}  # fmt: skip


def _values(about: Scene, language: Language, times: int = 300) -> Iterator[tuple[str, Any]]:
    """What each key is said to be, by its meaning."""
    for seed in range(times):
        said = structured(about, np.random.default_rng((7, seed)), language)
        assert said.kind == "json"
        for key, value in json.loads(said.answer).items():
            yield _MEANINGS[key], value


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_value_is_what_the_scene_has(language: Language) -> None:
    right = _RIGHT[language] | _IN_ANY_LANGUAGE
    told = list(_values(_STREET, language))
    assert {meaning for meaning, _ in told} == set(d.JSON_KEYS)
    assert not [(meaning, value) for meaning, value in told if value != right[meaning]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_scene_has_nothing_in_it(language: Language) -> None:
    none = {"en": "none", "ko": "없음", "ja": "なし"}[language]
    told = dict(_values(scene(ground="forest"), language))
    assert {told[key] for key in ("name", "animal", "food", "vehicle", "position", "category")} == {none}
    assert (told["count"], told["objects"], told["text"]) == (0, [], "")
    assert (told["has text"], told["has animal"], told["has people"]) == (False, False, False)


def test_the_largest_thing_is_the_subject_and_fruit_is_food() -> None:
    told = dict(_values(scene(thing("cat", "left", side=40), thing("apple", "right", side=60), ground="red"), "en"))
    assert (told["name"], told["position"], told["category"]) == ("apple", "right", "food")
    assert (told["food"], told["animal"], told["has animal"]) == ("apple", "cat", True)
    assert told["ground"] == told["ground colour"] == "red"


def test_shapes_and_people_are_told_as_such() -> None:
    told = dict(_values(scene(shape("star", "yellow", "left"), thing("doctor", "right")), "en"))
    assert told["objects"] == ["yellow star", "doctor"]
    assert (told["has people"], told["category"]) == (True, "object")


def test_no_name_of_a_key_means_two_things() -> None:
    assert len(_MEANINGS) == sum(len(keys) for keys in d.JSON_KEYS.values())


def test_listed_keys_are_those_of_the_answer_and_vague_questions_list_some() -> None:
    vague = {each for language in LANGUAGES for each in d.JSON_KEYED[language] if "{" not in each}
    listed = 0
    for seed in range(300):
        said = structured(_STREET, np.random.default_rng(seed), LANGUAGES[seed % 3])
        keys, question = list(json.loads(said.answer)), said.question
        has_keys = question.endswith((f"Keys: {', '.join(keys)}.", json.dumps(dict.fromkeys(keys, "..."))))
        listed += has_keys
        assert has_keys or said.given or not any(question.startswith(each) for each in vague), question
    assert 60 < listed < 180


def test_where_a_form_is_held_to_the_first_key_is_given() -> None:
    drawn = [structured(_STREET, np.random.default_rng(seed), LANGUAGES[seed % 3]) for seed in range(300)]
    begun = [said for said in drawn if said.given]
    assert 60 < len(begun) < 150
    for said in begun:
        key = next(iter(json.loads(said.answer)))
        assert said.answer[: said.given] == f'{{"{key}": '
        assert "Keys:" not in said.question


def test_no_question_without_keys_is_answered_in_json_that_is_answered_in_words_too() -> None:
    for language in LANGUAGES:
        for table in (w.DESCRIBE, w.CAPTION, w.DETAIL, w.ANALYSE, d.WHAT_THING, d.OBJECTS):
            assert not {*table[language]} & {*d.JSON_ASKED[language]}


def test_json_of_any_scene_parses_and_keeps_its_letters() -> None:
    rng = np.random.default_rng(1)
    for number in range(200):
        said = structured(scene_of(number, unseen=False), rng, LANGUAGES[number % 3])
        assert isinstance(json.loads(said.answer), dict)
        assert "\\u" not in said.answer
