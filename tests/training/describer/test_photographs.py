"""Photographs that were never taken: what is said of a guess, and when nothing is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from models.cells import load_trunk
from training import wordings as w
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.describer import words as d
from training.describer.photographs import Photographs
from training.describer.questions import Asked
from training.embedder.lexicon import CLASSES, Lexicon, Noun

_OF: dict[str, tuple[int, ...]] = {
    "dog": (151, 152, 207), "cat": (281, 282), "banana": (954,), "lemon": (951,), "pizza": (963,), "laptop": (620,),
    "umbrella": (879,), "sunglasses": (837,), "castle": (483,), "violin": (889,), "hammer": (587,), "volcano": (980,),
}  # fmt: skip
_BANANA = 954
_NAMES: dict[Language, str] = {"en": "banana", "ko": "바나나", "ja": "バナナ"}
_PHOTO: dict[Language, str] = {"en": "A photo of a banana.", "ko": "바나나 사진입니다.", "ja": "バナナの写真です。"}


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    nouns = [
        Noun(subject.names, (*_OF.get(name, ()), CLASSES + number))
        for number, (name, subject) in enumerate(subjects().items())
    ]
    table = torch.zeros(len(nouns), CLASSES + len(nouns), dtype=torch.bool)
    for row, noun in enumerate(nouns):
        table[row, list(noun.fits)] = True
    return Photographs.of(load_trunk(), Lexicon(tuple(nouns), table))


def guess(sure: float, number: int = _BANANA) -> torch.Tensor:
    """So sure that it shows one class; any other is equally likely."""
    guesses = torch.full((CLASSES,), (1 - sure) / (CLASSES - 1))
    guesses[number] = sure
    return guesses


def asked(photographs: Photographs, guesses: torch.Tensor, language: Language, times: int = 500) -> list[Asked]:
    return [photographs.ask(guesses, np.random.default_rng((5, seed)), language) for seed in range(times)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_weak_guess_is_not_named(photographs: Photographs, language: Language) -> None:
    answers = {said.answer for said in asked(photographs, guess(0.1), language)}
    assert answers == {d.NOTHING_KNOWN[language], d.UNKNOWN[language], w.YES_NO[language][1]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sure_guess_is_named_in_the_language_of_the_question(photographs: Photographs, language: Language) -> None:
    name, photo = _NAMES[language], _PHOTO[language]
    named = {"en": {"Banana", "A banana"}, "ko": {name}, "ja": {name}}[language]
    plain = {said.answer for said in asked(photographs, guess(0.9), language) if not said.given}
    in_json = {answer for answer in plain if answer.startswith("{")}
    assert plain - in_json == named | {photo, d.UNKNOWN[language], *w.YES_NO[language]}
    values = [value for answer in in_json for value in json.loads(answer).values()]
    assert all(value in (name, photo, [name]) for value in values)
    assert name in values


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_breeds_that_are_likely_together_are_a_dog(photographs: Photographs, language: Language) -> None:
    guesses = guess(0.2, 151)
    guesses[152] = guesses[207] = 0.2
    assert photographs.named(guesses, language) == {"en": "dog", "ko": "개", "ja": "犬"}[language]
    assert photographs.named(guess(0.2, 151), "en") == "Chihuahua"
    assert photographs.named(guess(0.9, 151), "en") == "Chihuahua"


def test_a_question_about_a_photograph_has_one_answer(photographs: Photographs) -> None:
    for sure in (0.05, 0.9):
        for language in LANGUAGES:
            answers: dict[str, str] = {}
            for said in asked(photographs, guess(sure), language):
                if not said.given and not said.answer.startswith("{"):
                    assert answers.setdefault(said.question, said.answer) == said.answer, said


@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_is_said_to_what_it_is_and_no_to_what_it_cannot_be(photographs: Photographs, language: Language) -> None:
    yes, no = w.YES_NO[language]
    shown = [name.lower() for name in subjects()["banana"].names[language]]
    said = [each for each in asked(photographs, guess(0.9), language) if each.answer in (yes, no)]
    assert {each.answer for each in said} == {yes, no}
    for each in said:
        assert (each.answer == yes) == any(name in each.question.lower() for name in shown), each


def test_a_caption_of_a_photograph_goes_on_from_what_is_given(photographs: Photographs) -> None:
    begun = [said for said in asked(photographs, guess(0.9), "ko") if said.given]
    captions = [said for said in begun if not said.answer.startswith("{")]
    assert captions
    assert len(captions) < len(begun)
    for said in begun:
        assert said in captions or said.answer[: said.given].endswith('": ')
    for said in captions:
        assert said.language == "en"
        assert said.answer[: said.given].strip() in d.LEADS
        assert said.answer[said.given :] == "a banana."


def test_names_take_the_article_that_they_need(photographs: Photographs) -> None:
    for number, told in ((837, "Sunglasses"), (604, "An hourglass"), (880, "A unicycle")):
        assert told in {said.answer for said in asked(photographs, guess(0.9, number), "en")}


def test_a_breed_is_a_dog_in_korean_and_japanese_and_itself_in_english(photographs: Photographs) -> None:
    assert [photographs.names[language][151] for language in LANGUAGES] == ["Chihuahua", "개", "犬"]
    assert photographs.names["ko"][0] == photographs.names["en"][0] == "tench"


def test_features_point_where_their_class_does_and_some_guesses_are_weak(photographs: Photographs) -> None:
    pooled, classes = photographs.draw(400, np.random.default_rng(1))
    assert pooled.shape == (400, 1280)
    guesses = photographs.guesses(pooled)
    assert torch.allclose(guesses.sum(1), torch.ones(400), atol=1e-4)
    assert float((guesses.argmax(1) == classes).float().mean()) > 0.5
    known = float((guesses.max(1).values >= 0.12).float().mean())
    assert 0.3 < known < 0.99
    again, same = photographs.draw(400, np.random.default_rng(1))
    assert torch.equal(pooled, again)
    assert torch.equal(classes, same)
