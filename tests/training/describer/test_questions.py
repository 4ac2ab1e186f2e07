"""Questions about scenes made by hand, in three languages: each has its right answer, and only that."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.training.describer.reading import TABLES, names_of, read
from tests.training.describer.scenes import asked, scene, shape, thing
from training import wordings as w
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, LANGUAGES, PLACE_NOUNS, Language
from training.composer.scene import Scene
from training.composer.words import GROUND_NAMES, IN_GROUND
from training.describer import words as d
from training.describer.naming import in_order, sentence
from training.describer.pool import scene_of
from training.describer.questions import SEVERAL, ask, ask_two

_STREET = scene(thing("car", "right"), thing("cat", "left"), ground="beach", word="HELLO")
_TWINS = scene(thing("doctor", "left"), thing("doctor", "right"), ground="room", relation="beside")
_EMPTY = scene(ground="forest")
_SHAPES = scene(shape("star", "yellow", "left"), shape("heart", "red", "right"), ground="blue", relation="beside")
_SCENES = (_STREET, _TWINS, _EMPTY, _SHAPES)
_CAT: dict[Language, str] = {"en": "A cat", "ko": "고양이", "ja": "猫"}
_CAR: dict[Language, str] = {"en": "A car", "ko": "자동차", "ja": "車"}


def _names(question: str, name: str, language: Language) -> bool:
    return any(said in question.lower() for said in names_of(name, language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_description_is_the_scene_s_sentence(language: Language) -> None:
    for about in _SCENES:
        for kind in ("describe", "caption"):
            assert set(asked(about, kind, language, 40).values()) == {sentence(about, language)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_stands_alone_is_named(language: Language) -> None:
    answers = asked(scene(thing("cat"), ground="beach"), "what", language)
    assert {answer.lower() for answer in answers.values()} <= {_CAT[language].lower(), "cat"}
    for question, answer in answers.items():
        assert (answer == "Cat") == ("one word" in question.lower())
    assert set(asked(_STREET, "what", language).values()) - {"Cat"} == {_CAT[language], _CAR[language]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_only_one_of_a_kind_is_named_by_its_kind(language: Language) -> None:
    animal = {"en": "animal", "ko": "동물", "ja": "動物"}[language]
    for question, answer in asked(_STREET, "what", language).items():
        assert answer.lower().endswith(_CAT[language].lower().removeprefix("a ")) == (animal in question.lower())
    assert asked(_TWINS, "what", language) == {}
    assert asked(scene(thing("gas station", "left"), thing("pen", "right")), "what", language) == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_objects_are_listed_from_left_to_right(language: Language) -> None:
    told = {"en": "Cat\nCar", "ko": "고양이\n자동차", "ja": "猫\n車"}[language]
    assert set(asked(_STREET, "objects", language, 30).values()) == {told}
    assert set(asked(_EMPTY, "objects", language, 30).values()) == {d.EMPTY[language]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_word_is_read_and_where_there_is_none_that_is_said(language: Language) -> None:
    assert set(asked(_STREET, "text", language, 30).values()) == {"HELLO"}
    assert set(asked(_TWINS, "text", language, 30).values()) == {w.NO_TEXT[language]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_is_counted_and_animals_apart(language: Language) -> None:
    animal = {"en": "animal", "ko": "동물", "ja": "動物"}[language]
    for about, things, animals in (
        (_STREET, {"en": "2", "ko": "2개", "ja": "2つ"}, {"en": "1", "ko": "1마리", "ja": "1匹"}),
        (_EMPTY, {"en": "0", "ko": "0개", "ja": "0"}, {"en": "0", "ko": "0마리", "ja": "0"}),
    ):
        answers = asked(about, "count", language)
        for question, answer in answers.items():
            assert answer == (animals if animal in question.lower() else things)[language], question
        assert set(answers.values()) == {things[language], animals[language]}


@pytest.mark.parametrize("language", LANGUAGES)
def test_things_of_a_name_are_counted(language: Language) -> None:
    two, none = {"en": ("2", "0"), "ko": ("2명", "0"), "ja": ("2人", "0")}[language]
    answers = asked(_TWINS, "count named", language)
    for question, answer in answers.items():
        assert answer == two if _names(question, "doctor", language) else answer.startswith(none), question
        if language != "en" and _names(question, "doctor", language):
            assert not any(lifeless in question for lifeless in ("몇 개", "いくつ", "何個")), question
    assert two in answers.values()
    assert any(answer.startswith(none) for answer in answers.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_ground_is_named(language: Language) -> None:
    assert set(asked(_STREET, "ground", language, 30).values()) == {
        {"en": "A beach", "ko": "해변", "ja": "ビーチ"}[language]
    }
    assert set(asked(_SHAPES, "ground", language, 30).values()) == {
        {"en": "Blue", "ko": "파란색", "ja": "青"}[language]
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_stands_somewhere_is_named(language: Language) -> None:
    for question, answer in asked(_STREET, "at", language).items():
        left = any(noun in question.lower() for noun in PLACE_NOUNS[language]["left"])
        assert answer == (_CAT if left else _CAR)[language], question
    assert asked(_EMPTY, "at", language) == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_thing_is_where_it_stands_or_not_there(language: Language) -> None:
    left, right = {"en": ("On the left", "On the right"), "ko": ("왼쪽", "오른쪽"), "ja": ("左", "右")}[language]
    absent = {d.NOT_THERE[language], "絵の中にいません"}
    answers = asked(_STREET, "where", language)
    for question, answer in answers.items():
        if answer in absent:
            assert not any(question.lower().rstrip("?？ ").endswith(f" {each}") for each in ("the cat", "the car"))
        else:
            assert _names(question, "cat" if answer == left else "car", language), question
    assert {left, right} <= set(answers.values())
    assert set(asked(_TWINS, "where", language).values()) <= absent


@pytest.mark.parametrize("language", LANGUAGES)
def test_colours_are_those_of_the_drawing_and_of_the_shape(language: Language) -> None:
    red, yellow = ({"en": ("Red", "Yellow"), "ko": ("빨간색", "노란색"), "ja": ("赤", "黄色")})[language]
    assert set(asked(scene(thing("cat")), "colour", language, 30).values()) == {red}
    assert set(asked(_SHAPES, "colour", language).values()) == {red, yellow}
    assert asked(scene(shape("star", "red", "left"), shape("star", "blue", "right")), "colour", language) == {}


def _is_so(about: Scene, language: Language, table: str, said: dict[str, str]) -> bool:
    named = [
        f for f in about.figures if "name" in said and not f.is_shape and said["name"] in names_of(f.name, language)
    ]
    match table.split()[0]:
        case "text":
            return about.word is not None
        case "unsafe":
            return False
        case "kind":
            kinds = {"cat": "animals", "car": "vehicles", "doctor": "people"}
            return table.split()[1] in {kinds[f.name] for f in about.figures if not f.is_shape}
        case "ground":
            assert about.is_painted
            fitting = (*IN_GROUND[language][about.ground], *GROUND_NAMES[language][about.ground])  # type: ignore[index]
            return (said.get("where") or said["ground"]) in [word.lower() for word in fitting]
        case "background":
            if about.is_painted:
                return False
            fitting = (*COLOUR_NOUNS[language][about.ground], *COLOUR_ADJECTIVES[language][about.ground])  # type: ignore[index]
            return (said.get("colour") or said["colour_noun"]) in fitting
        case "at":
            return any(noun in said["place"] for f in named for noun in PLACE_NOUNS[language][f.place])
    return bool(named)


@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_or_no_is_what_the_scene_says(language: Language) -> None:
    yes, no = w.YES_NO[language]
    seen: set[tuple[str, str]] = set()
    for about in (_STREET, _TWINS, _EMPTY, scene(thing("cat"), ground="red")):
        for question, answer in asked(about, "yes/no", language, 500).items():
            table, said = read(question, language)
            assert answer == (yes if _is_so(about, language, table, said) else no), (question, table, said)
            seen.add((table, answer))
    certain = {("unsafe", yes), ("kind food", yes)}
    assert seen >= {(table, answer) for table in TABLES for answer in (yes, no)} - certain


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_is_asked_whether_a_poodle_is_a_dog_or_a_wood_has_a_tree(language: Language) -> None:
    for about, doubtful in ((scene(thing("poodle")), "dog"), (_EMPTY, "tree"), (scene(ground="mountains"), "mountain")):
        for kind in ("yes/no", "where", "count named"):
            for question in asked(about, kind, language, 300):
                said = read(question, language)[1].get("name", "") if kind == "yes/no" else ""
                assert said not in names_of(doubtful, language), question


def test_a_painted_ground_is_not_asked_for_a_colour_that_it_may_have() -> None:
    for ground, colour in (("sea", "blue"), ("meadow", "green"), ("snow", "white"), ("space", "black")):
        for question in asked(scene(ground=ground), "yes/no", "en", 400):  # type: ignore[arg-type]
            assert f"background {colour}" not in question.lower()
            assert f"a {colour} background" not in question.lower()


def test_english_verbs_agree_with_what_comes_in_several() -> None:
    about = scene(thing("jeans", "left"), thing("grapes", "right"))
    questions = {
        question.lower() for kind in ("yes/no", "where") for question in asked(about, kind, "en", 300)
        if "grapes" in question.lower() or "jeans" in question.lower()
    }  # fmt: skip
    assert any("are there grapes" in question for question in questions)
    assert any("where are the jeans" in question for question in questions)
    wrong = ("is there grapes", "is there jeans", "is the grapes", "is the jeans", "a grapes", "a jeans")
    assert not [question for question in questions if any(each in question for each in wrong)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_no_picture_tells_is_not_known(language: Language) -> None:
    assert set(asked(_STREET, "beyond", language, 40).values()) == {d.UNKNOWN[language]}


def test_a_caption_goes_on_from_what_is_given() -> None:
    for seed in range(20):
        said = ask(_STREET, np.random.default_rng(seed), "ko", "continue")
        assert said is not None
        assert said.language == "en"
        assert said.answer[: said.given].strip() in d.LEADS
        assert said.answer[said.given :] == 'a cat and a car on the beach, with the text "HELLO".'


def test_tables_of_questions_with_different_answers_share_none() -> None:
    tables = (w.DESCRIBE, w.CAPTION, w.DETAIL, d.WHAT_THING, d.OBJECTS, w.READ, d.GROUND, w.BACKGROUND, d.BEYOND,
              w.COUNT_ALL, d.COUNT_ANIMALS, d.JSON_ASKED, *d.WHAT_KIND.values())  # fmt: skip
    for one, other in combinations(tables, 2):
        assert not [shared for language in LANGUAGES for shared in {*one[language]} & {*other[language]}]


def test_the_same_question_about_the_same_scene_has_the_same_answer() -> None:
    rng = np.random.default_rng(2)
    for number in range(60):
        about, answers = scene_of(number, unseen=False), dict[str, str]()
        for turn in range(90):
            said = ask(about, rng, LANGUAGES[turn % 3])
            if said is not None and not said.given:
                question = said.question.lower().rstrip("?.!？")
                assert answers.setdefault(question, said.answer) == said.answer, (about, said)


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_pictures_are_compared(language: Language) -> None:
    first, second = scene(thing("cat"), ground="beach"), scene(thing("car", "left"), thing("apple", "right"))
    which = w.WHICH_SAID[language]
    counted: dict[str, set[str]] = {}
    for seed in range(300):
        said = ask_two(first, second, np.random.default_rng(seed), language)
        counted.setdefault(said.kind, set()).add(said.answer)
        if said.kind == "which":
            there = [any(_names(said.question, f.name, language) for f in each.figures) for each in (first, second)]
            if not any(there):
                assert said.answer == which[3], said
    assert counted["same"] == {w.YES_NO[language][1]}
    assert counted["more"] == {which[1]}
    assert counted["which"] == {which[0], which[1], which[3]}
    (both,) = counted["both"]
    assert sentence(first, language) in both
    assert both.endswith(sentence(second, language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_picture_is_the_same_as_itself_and_not_as_one_with_another_word(language: Language) -> None:
    yes, no = w.YES_NO[language]
    other = scene(*_STREET.figures, ground="beach", word="Open")
    for second, wanted in ((_STREET, yes), (other, no)):
        said = [ask_two(_STREET, second, np.random.default_rng(seed), language) for seed in range(120)]
        assert {each.answer for each in said if each.kind == "same"} == {wanted}
        assert {each.answer for each in said if each.kind == "more"} == {w.AS_MANY[language]}
        assert w.WHICH_SAID[language][2] in {each.answer for each in said if each.kind == "which"}


def test_things_of_a_scene_come_from_left_to_right() -> None:
    assert [figure.name for figure in in_order(_STREET)] == ["cat", "car"]


@pytest.mark.parametrize("kind", ["where", "yes/no", "count named", "colour"])
def test_it_is_known_what_a_question_asks_for_and_where_that_is(kind: str) -> None:
    found: dict[str, set[int]] = {}
    for about in (_STREET, _TWINS):
        for seed in range(300):
            said = ask(about, np.random.default_rng((9, seed)), "en", kind)
            if said is not None and said.thing:
                assert said.name in said.question.lower() or kind == "count named", "that is asked in the plural"
                found.setdefault(f"{said.thing} {about is _TWINS}", set()).add(said.at)
    there = {"car False": 2, "cat False": 1, "doctor True": SEVERAL}
    assert all(places == {there.get(name, 0)} for name, places in found.items())
    assert set(found) >= {"car False", "cat False"} - ({"cat False"} if kind == "colour" else set())
    assert kind == "colour" or 0 in set.union(*found.values())
