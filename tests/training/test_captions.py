import itertools

import numpy as np
import pytest

from training.captions import (
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    LANGUAGES,
    PLACE_NOUNS,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    Language,
    article,
    canonical_caption,
    caption,
    full_caption,
    with_particle,
)
from training.world import COLOURS, PLACES, SHAPES, Scene, Thing, random_scene


def scenes(count: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng, things=(0.05, 0.4, 0.35, 0.2), word=0.3) for _ in range(count)]


def thing(**changes: object) -> Thing:
    said = {"shape": "circle", "colour": "red", "size": "big", "place": "left", **changes}
    return Thing(**said, rgb=(215, 38, 40), centre=(15, 32), radius=14, angle=0)  # type: ignore[arg-type]


TWO = Scene("blue", (40, 78, 212), (thing(shape="star", colour="green", size="small", place="right"), thing()), "ABC")


def test_every_colour_shape_and_place_has_a_word_in_every_language() -> None:
    for language in LANGUAGES:
        assert set(COLOUR_ADJECTIVES[language]) == set(COLOUR_NOUNS[language]) == set(COLOURS)
        assert set(SHAPE_NOUNS[language]) == set(SHAPES)
        assert set(PLACE_NOUNS[language]) == set(PLACES)
        assert set(SIZE_ADJECTIVES[language]) == {"big", "small"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_stands_for_two_colours_or_two_shapes(language: Language) -> None:
    for table in (COLOUR_ADJECTIVES[language], COLOUR_NOUNS[language], SHAPE_NOUNS[language]):
        words = list(itertools.chain.from_iterable(table.values()))
        assert len(words) == len(set(words))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_full_caption_names_everything(language: Language) -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(400):
        text = full_caption(scene, rng, language).lower()
        for t in scene.things:
            places = [*PLACE_NOUNS[language][t.place], t.place]
            for words in (
                COLOUR_ADJECTIVES[language][t.colour],
                SHAPE_NOUNS[language][t.shape],
                SIZE_ADJECTIVES[language][t.size],
                places,
            ):
                assert any(word in text for word in words), (scene.description(), text)
        ground = COLOUR_ADJECTIVES[language][scene.background] + COLOUR_NOUNS[language][scene.background]
        assert any(word in text for word in ground), (scene.description(), text)
        if scene.word:
            assert scene.word.lower() in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_are_tidy(language: Language) -> None:
    rng = np.random.default_rng(2)
    for scene in scenes(400, seed=3):
        for text in (caption(scene, rng, language), canonical_caption(scene, language)):
            assert text == text.strip()
            assert not any(flaw in text for flaw in ("  ", " ,", ",,", "..", "、、", "None", "{", " a o", " a i"))


def test_one_scene_is_described_in_many_ways() -> None:
    rng = np.random.default_rng(4)
    for language in LANGUAGES:
        assert len({full_caption(TWO, rng, language) for _ in range(300)}) > 150


def test_a_caption_may_leave_things_out() -> None:
    rng = np.random.default_rng(5)
    said = [caption(TWO, rng) for _ in range(300)]
    for word in ("background", "left", "small"):
        assert 0 < sum(word not in text.lower() for text in said) < 300


def test_the_canonical_caption_is_fixed_and_goes_from_left_to_right() -> None:
    assert canonical_caption(TWO) == (
        "a big red circle on the left and a small green star on the right of a blue background, "
        'with the word "ABC" at the bottom'
    )
    assert canonical_caption(TWO, "ko") == (
        '파란색 배경 왼쪽에 큰 빨간색 원이 있고 오른쪽에 작은 초록색 별이 있고 아래쪽에 "ABC"라고 쓰여 있습니다.'
    )
    assert canonical_caption(TWO, "ja") == (
        "青い背景の左に大きい赤い円、右に小さい緑の星があり、下に「ABC」と書かれています。"
    )


def test_a_scene_with_nothing_but_a_number_is_described() -> None:
    scene = Scene("orange", (244, 138, 28), (), "42")
    assert canonical_caption(scene) == 'the number "42" at the bottom of an orange background'
    assert canonical_caption(scene, "ko") == '주황색 배경 아래쪽에 "42"라고 쓰여 있습니다.'
    assert canonical_caption(scene, "ja") == "オレンジ色の背景の下に「42」と書かれています。"


def test_korean_particles_follow_the_last_syllable() -> None:
    assert [with_particle(w, "이", "가") for w in ("원", "하트", "별")] == ["원이", "하트가", "별이"]


def test_english_articles_follow_the_first_letter() -> None:
    assert [article(w) for w in ("orange star", "red star")] == ["an orange star", "a red star"]
