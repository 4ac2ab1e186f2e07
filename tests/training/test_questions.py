from dataclasses import replace

import numpy as np
import pytest

from training.captions import COLOUR_NOUNS, LANGUAGES, SHAPE_NOUNS, Language
from training.questions import (
    _ASKERS,
    TASK_PROMPTS,
    Kind,
    analysed,
    ask,
    ask_two,
    both,
    changed,
    detailed,
    difference,
    listed,
    talk,
)
from training.world import Scene, Thing, random_scene

STAR = Thing("star", "green", "small", "right", (42, 158, 66), (49, 32), 8, 0)
CIRCLE = Thing("circle", "red", "big", "left", (215, 38, 40), (15, 32), 14, 0)
ONE = Scene("blue", (40, 78, 212), (CIRCLE,))
TWO = Scene("blue", (40, 78, 212), (STAR, CIRCLE), "ABC")


def answers(scene: Scene, kind: Kind, language: Language, count: int = 60) -> set[str]:
    """Every answer that many wordings of a kind of question get."""
    drawn = [ask(scene, np.random.default_rng(i), language, kind) for i in range(count)]
    return {said.answer for said in drawn if said is not None}


@pytest.mark.parametrize(
    ("kind", "english", "korean", "japanese"),
    [
        ("colour", "Red", "빨간색", "赤"),
        ("shape", "Circle", "원", "円"),
        ("background", "Blue", "파란색", "青"),
        ("count", "1", "1개", "1つ"),
        ("place", "On the left", "왼쪽", "左"),
        ("size", "Big", "큽니다", "大きいです"),
        ("what", "A big red circle", "큰 빨간색 원", "大きい赤い円"),
        ("text", "No text", "글자가 없습니다", "文字はありません"),
    ],
)
def test_every_wording_gets_the_one_answer_in_its_language(
    kind: Kind, english: str, korean: str, japanese: str
) -> None:
    for language, answer in zip(LANGUAGES, (english, korean, japanese), strict=True):
        assert answers(ONE, kind, language) == {answer}


def test_a_colour_is_asked_of_one_thing_only_and_answered_in_its_language() -> None:
    for language in LANGUAGES:
        said = {COLOUR_NOUNS[language][c][0].capitalize() for c in ("red", "green")}
        assert answers(TWO, "colour", language) == said
        assert answers(TWO, "shape", language) == {SHAPE_NOUNS[language][s][0].capitalize() for s in ("circle", "star")}


def test_the_word_is_the_whole_answer_to_what_the_text_says() -> None:
    for language in LANGUAGES:
        assert answers(TWO, "text", language) == {"ABC"}


def test_yes_and_no_are_both_common() -> None:
    rng = np.random.default_rng(3)
    said = [ask(random_scene(rng, word=0.2), rng, "en", "yes/no") for _ in range(400)]
    yes = sum(s is not None and s.answer == "Yes" for s in said)
    assert 100 < yes < 260


def test_no_blank_is_left_unfilled_in_any_wording() -> None:
    rng = np.random.default_rng(4)
    for i in range(6000):
        language = LANGUAGES[i % 3]
        scene = random_scene(rng, things=(0.05, 0.4, 0.35, 0.2), word=0.3)
        said = ask(scene, rng, language) if i % 4 else ask_two(scene, changed(scene, rng), rng, language)
        assert said is not None
        for text in (said.question, said.answer):
            assert not set("{}") & set(text)
            assert "  " not in text
            for pair in ("이/가", "은/는", "는/은", "를/을", "이야/야", "crosss"):
                assert pair not in text


def test_every_kind_can_be_asked_of_a_full_scene_and_none_of_a_missing_thing() -> None:
    for kind in _ASKERS:
        assert ask(TWO, np.random.default_rng(0), "en", kind) is not None
    word_alone = replace(TWO, things=())
    for kind in ("colour", "shape", "what", "place", "size"):
        assert ask(word_alone, np.random.default_rng(0), "en", kind) is None


def test_the_words_of_the_server_are_among_the_questions() -> None:
    rng = np.random.default_rng(5)
    said = [ask(TWO, rng, "en") for _ in range(3000)]
    asked = {s.question for s in said if s is not None}
    assert set(TASK_PROMPTS.values()) <= asked


def test_lists_name_one_thing_a_line_from_left_to_right() -> None:
    assert listed(TWO, "en") == "Big red circle\nSmall green star"
    assert listed(replace(TWO, things=()), "en") == "ABC"


def test_details_tell_objects_colours_text_composition_and_mood() -> None:
    assert detailed(TWO, "en") == (
        "The picture shows two shapes: a big red circle on the left and a small green star on the right. "
        'The background is plain blue. The text "ABC" is at the bottom. The composition is simple and the mood is calm.'
    )
    for language in LANGUAGES:
        assert "ABC" in detailed(TWO, language)
        assert len(analysed(TWO, language).splitlines()) == 5


def test_differences_name_what_changed() -> None:
    recoloured = replace(ONE, things=(replace(CIRCLE, colour="white"),))
    reshaped = replace(ONE, things=(replace(CIRCLE, shape="heart"),))
    assert difference(ONE, ONE, "en") == "They are the same"
    assert difference(ONE, recoloured, "en") == "The circle is red in the first and white in the second"
    assert difference(ONE, reshaped, "en") == "The first has a red circle and the second a red heart"
    assert difference(replace(TWO, word=None), ONE, "en") == "Only the first has a green star"
    assert (
        difference(ONE, TWO, "en")
        == both([ONE, TWO], "en")
        == "First: a red circle. Second: a red circle and a green star."
    )


def test_which_of_two_pictures_is_answered() -> None:
    other = replace(ONE, things=(STAR,))
    for seed in range(200):
        said = ask_two(ONE, other, np.random.default_rng(seed), "en", "which")
        named = said.question.lower()
        if "circle" in named and "red" in named:
            assert said.answer == "The first"
        if "more" in named.split():
            assert said.answer == "Both have the same number"


def test_a_change_is_one_change() -> None:
    rng = np.random.default_rng(6)
    for _ in range(300):
        scene = random_scene(rng)
        after = changed(scene, rng)
        assert (after.background, after.word) == (scene.background, scene.word)
        kept = set(scene.things) & set(after.things)
        assert len(scene.things) - len(kept) <= 1


def test_without_a_picture_it_says_what_it_is_for() -> None:
    for language in LANGUAGES:
        said = {talk(np.random.default_rng(i), language).answer for i in range(80)}
        assert len(said) == 3
