"""How scenes are told of: sentences that a speaker of each language would say."""

from __future__ import annotations

import pytest

from tests.training.describer.scenes import scene, shape, thing
from training.art.subjects import subjects
from training.captions import LANGUAGES, Language
from training.composer.scene import Scene
from training.describer.kinds import kind_of, may_be_there
from training.describer.naming import (
    a,
    colour_of,
    detail,
    is_counted,
    is_plural,
    name,
    plural,
    sentence,
    with_a,
    written,
)

_TOLD: list[tuple[Scene, dict[Language, str]]] = [
    (
        scene(thing("car", "right"), thing("cat", "left")),
        {
            "en": "A cat and a car on a white background.",
            "ko": "흰색 배경에 고양이와 자동차가 있습니다.",
            "ja": "白い背景に猫と車があります。",
        },
    ),
    (
        scene(thing("cat", "top"), thing("chair", "bottom"), ground="sunset", relation="on"),
        {
            "en": "A cat on a chair at sunset.",
            "ko": "노을 속에 의자가 있고 그 위에 고양이가 있습니다.",
            "ja": "夕焼けの中に椅子があり、その上に猫がいます。",
        },
    ),
    (
        scene(thing("apple", "bottom"), thing("dog"), ground="snow", relation="in front of", word="742"),
        {
            "en": 'An apple in front of a dog in the snow, with the text "742".',
            "ko": '눈밭에 개가 있고 그 앞에 사과가 있으며 "742"라고 쓰여 있습니다.',
            "ja": "雪の中に犬がおり、その前にりんごがあり、「742」と書かれています。",
        },
    ),
    (
        scene(thing("doctor", "left"), thing("doctor", "right"), ground="room", word="HELLO", relation="beside"),
        {
            "en": 'Two doctors in a room, with the text "HELLO".',
            "ko": '방에 의사 두 명이 있고 "HELLO"라고 쓰여 있습니다.',
            "ja": "部屋に医者が二人おり、「HELLO」と書かれています。",
        },
    ),
    (
        scene(*(thing("cat", place) for place in ("left", "centre", "right")), ground="beach"),
        {
            "en": "Three cats on the beach.",
            "ko": "해변에 고양이 세 마리가 있습니다.",
            "ja": "ビーチに猫が三匹います。",
        },
    ),
    (
        scene(shape("star", "yellow", "left"), shape("star", "yellow", "right"), ground="blue", relation="beside"),
        {
            "en": "Two yellow stars on a blue background.",
            "ko": "파란색 배경에 노란색 별 두 개가 있습니다.",
            "ja": "青い背景に黄色い星が二つあります。",
        },
    ),
    (
        scene(ground="red", word="안녕"),
        {
            "en": 'The text "안녕" on a red background.',
            "ko": '빨간색 배경에 "안녕"이라고 쓰여 있습니다.',
            "ja": "赤い背景に「안녕」と書かれています。",
        },
    ),
    (scene(ground="forest"), {"en": "A forest.", "ko": "숲 풍경입니다.", "ja": "森です。"}),
]


@pytest.mark.parametrize(("told", "sentences"), _TOLD)
def test_a_scene_is_told_as_one_would_say_it(told: Scene, sentences: dict[Language, str]) -> None:
    assert {language: sentence(told, language) for language in LANGUAGES} == sentences


def test_a_detailed_answer_says_what_stands_where() -> None:
    told = scene(thing("chair", "right"), thing("cat", "left"), ground="red")
    assert [detail(told, language) for language in LANGUAGES] == [
        "The picture shows a cat on the left and a chair on the right. The background is plain red. There is no text.",
        "왼쪽에 고양이, 오른쪽에 의자가 있습니다. 배경은 빨간색입니다. 글자는 없습니다.",
        "左に猫、右に椅子があります。背景は赤です。文字はありません。",
    ]
    alive = scene(thing("cat"), ground="beach", word="Open")
    assert [detail(alive, language) for language in LANGUAGES] == [
        'The picture shows a cat in the centre. The background is a beach. The text says "Open".',
        '가운데에 고양이가 있습니다. 배경은 해변입니다. 글자는 "Open"입니다.',
        "中央に猫がいます。背景はビーチです。文字は「Open」です。",
    ]


def test_english_articles_follow_the_sound() -> None:
    words = ("unicorn", "ufo", "hourglass", "umbrella", "orange car", "European bird", "onion", "uninvited guest")
    assert [a(word) for word in words] == [
        "a unicorn", "a ufo", "an hourglass", "an umbrella", "an orange car", "a European bird", "an onion",
        "an uninvited guest",
    ]  # fmt: skip
    assert [with_a(thing(each), each) for each in ("jeans", "bread", "seashell")] == ["jeans", "bread", "a seashell"]


def test_english_plurals_of_what_has_several_words() -> None:
    names = (
        "person walking",
        "face with mask",
        "old woman",
        "snowman",
        "potato",
        "grapes",
        "thumbs up",
        "kitchen knife",
    )
    assert [plural(thing(each), each) for each in names] == [
        "people walking", "faces with mask", "old women", "snowmen", "potatoes", "grapes", "thumbs up",
        "kitchen knives",
    ]  # fmt: skip
    assert plural(shape("cross", "red"), "red cross") == "red crosses"


def test_what_comes_in_several_is_plural_and_is_not_counted() -> None:
    assert is_plural(thing("grapes"), "grapes")
    assert not is_plural(thing("bread"), "bread")
    assert not any(is_counted(thing(each)) for each in ("grapes", "bread", "jeans"))
    assert all(is_counted(thing(each)) for each in ("bus", "cat", "seashell"))


def test_kinds_are_what_one_would_call_them() -> None:
    expected = {
        "apple": "food",
        "pizza": "food",
        "cat": "animals",
        "seashell": "",
        "gas station": "",
        "car": "vehicles",
    }
    assert {each: kind_of(thing(each)) for each in expected} == expected
    assert kind_of(shape("star", "red")) == ""


def test_what_one_may_see_in_another_thing_or_in_the_ground_is_doubtful() -> None:
    assert may_be_there(scene(thing("poodle")), "dog")
    assert may_be_there(scene(thing("dog")), "poodle")
    assert may_be_there(scene(ground="forest"), "tree")
    assert may_be_there(scene(thing("doctor")), "woman")
    assert may_be_there(scene(shape("ring", "red")), "wedding ring")
    for absent in ("dog", "tree", "woman"):
        assert not may_be_there(scene(thing("car"), ground="beach"), absent)
    assert not may_be_there(scene(thing("doctor")), "astronaut")
    assert not may_be_there(scene(thing("cat")), "cat")


def test_most_things_can_be_asked_for_beside_any_other() -> None:
    for present in subjects():
        doubtful = [wanted for wanted in subjects() if may_be_there(scene(thing(present)), wanted)]
        assert len(doubtful) < 35, (present, doubtful)


def test_a_drawing_of_one_colour_has_that_colour() -> None:
    assert {each: colour_of(each, "noto") for each in ("cat", "chair", "car", "doctor", "rocket")} == {
        "cat": "red", "chair": "blue", "car": "black", "doctor": "white", "rocket": "yellow",
    }  # fmt: skip


def test_names_of_shapes_have_their_colour_and_words_their_number() -> None:
    assert [name(shape("heart", "purple"), language) for language in LANGUAGES] == [
        "purple heart", "보라색 하트", "紫のハート",
    ]  # fmt: skip
    assert written(scene(word="커피")) == "커피"
    assert written(scene(ground="sea")) == ""
