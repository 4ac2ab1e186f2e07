"""How the things of a scene are called: the plainest words in answers, any in questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np

from training.art.lettering import open_lettering
from training.art.shelf import Drawing, Shelf
from training.art.subjects import subjects
from training.captions import (
    BACKGROUND_WORD,
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    PLACE_NOUNS,
    SHAPE_NOUNS,
    Language,
    article,
    join_words,
    place_phrase,
    with_particle,
)
from training.composer.prompts import noun, with_article
from training.composer.prompts import plural as regular_plural
from training.composer.scene import Figure, Scene
from training.composer.words import GROUND_NAMES, IN_GROUND
from training.describer.kinds import is_alive, is_person, kind_of
from training.describer.words import CATEGORIES, OTHER
from training.world import PLACES

_NUMBERS: Final[dict[Language, tuple[str, str]]] = {"en": ("two", "three"), "ko": ("두", "세"), "ja": ("二", "三")}
_KO_GROUND: Final = {
    "sunset": "노을 속에", "sunrise": "아침 해 앞에", "snow": "눈밭에", "city at night": "밤의 도시에",
}  # fmt: skip
_JA_GROUND: Final = {"sunset": "夕焼けの中に", "sunrise": "朝日の中に"}
"""Where the first wording of `IN_GROUND` is no place."""
_SOUNDS_LIKE_YOU: Final = re.compile(r"uni(?!n)|eu|ufo|us[aeu]|uti|ute|one\b", re.IGNORECASE)
_PLURALS: Final = {
    "person": "people", "snowman": "snowmen", "potato": "potatoes", "tomato": "tomatoes", "mosquito": "mosquitoes",
    "volcano": "volcanoes", "tornado": "tornadoes", "scarf": "scarves", "dice": "dice",
}  # fmt: skip
_RGB: Final = {
    "red": (215, 45, 45), "green": (70, 160, 60), "blue": (50, 110, 215), "yellow": (250, 205, 50),
    "purple": (130, 70, 180), "orange": (245, 140, 30), "white": (245, 245, 245), "black": (35, 35, 35),
    "brown": (130, 85, 50), "grey": (140, 145, 150), "pink": (245, 150, 185),
}  # fmt: skip
DRAWN_COLOURS: Final = tuple(_RGB)
"""Colours that a drawing may be of; those of shapes come first."""
_ABOUT: Final = 12
"""Pixels of a thing's side that make no difference in size."""
_CLEAR: Final = 0.55
"""Of a drawing's pixels are of one colour, where it has one."""


def name(figure: Figure, language: Language) -> str:
    """Without article; a shape's with its colour."""
    if figure.colour is not None:
        words = COLOUR_ADJECTIVES[language][figure.colour][0], SHAPE_NOUNS[language][figure.name][0]  # type: ignore[index]
        return ("" if language == "ja" else " ").join(words)
    return subjects()[figure.name].names[language][0]


def asked_name(figure: Figure, language: Language, rng: np.random.Generator) -> str:
    """Any of its names."""
    return noun(figure, language, rng)


def with_a(figure: Figure, phrase: str) -> str:
    """The English phrase with its article, if it takes one."""
    return phrase if with_article(figure, phrase) == phrase and figure.name != "seashell" else a(phrase)


def a(phrase: str) -> str:
    """The English phrase with "a" or "an", by its sound: "a unicorn", "an hourglass"."""
    if _SOUNDS_LIKE_YOU.match(phrase):
        return f"a {phrase}"
    return f"an {phrase}" if phrase.lower().startswith("hour") else article(phrase)


def is_counted(figure: Figure) -> bool:
    """Whether one asks how many of it there are: not of grapes, bread or jeans."""
    return figure.name == "seashell" or with_article(figure, "x") != "x"


def is_plural(figure: Figure, phrase: str) -> bool:
    """Whether the English phrase is a plural already: "grapes"."""
    return figure.name != "santa claus" and not is_counted(figure) and phrase.endswith("s")


def plural(figure: Figure, phrase: str) -> str:
    """The English phrase in the plural: "people walking"."""
    if not is_counted(figure) and (phrase.endswith("s") or " " in phrase):
        return phrase
    head, space, rest = phrase.partition(" ")
    if head in ("person", "face"):
        return f"{_PLURALS.get(head, 'faces')}{space}{rest}"
    before, space, last = phrase.rpartition(" ")
    return f"{before}{space}{_PLURALS[last]}" if last in _PLURALS else regular_plural(phrase)


def category(figure: Figure, language: Language) -> str:
    """Animal, food, vehicle, person, or object."""
    return CATEGORIES.get(kind_of(figure), OTHER)[language]


def in_order(scene: Scene) -> list[Figure]:
    """From left to right, from above to below."""
    return sorted(scene.figures, key=lambda figure: PLACES.index(figure.place))


def largest(figures: Sequence[Figure]) -> Figure:
    """Of things in order; of those of about one size the first."""
    return max(figures, key=lambda figure: round(figure.side / _ABOUT))


def ground(scene: Scene, language: Language) -> str:
    """The ground's name: "a beach", "red"."""
    if scene.is_painted:
        return GROUND_NAMES[language][scene.ground][0]  # type: ignore[index]
    return COLOUR_NOUNS[language][scene.ground][0]  # type: ignore[index]


def sentence(scene: Scene, language: Language) -> str:
    """What the picture shows, as a sentence."""
    match language:
        case "en":
            told = _english(scene)
            return f"{told[:1].upper()}{told[1:]}."
        case "ko":
            return _korean(scene)
        case "ja":
            return _japanese(scene)


def caption(scene: Scene) -> str:
    """The same in English as captioners write: no capital, no full stop."""
    return _english(scene)


def _english(scene: Scene) -> str:
    if scene.is_painted:
        where = IN_GROUND["en"][scene.ground][0]  # type: ignore[index]
    else:
        where = f"on {a(COLOUR_ADJECTIVES['en'][scene.ground][0])} {BACKGROUND_WORD['en']}"  # type: ignore[index]
    word = written(scene)
    if not scene.figures:
        if word:
            return f'the text "{word}" {where}'
        return GROUND_NAMES["en"][scene.ground][0] if scene.is_painted else where.removeprefix("on ")  # type: ignore[index]
    names = [with_a(figure, name(figure, "en")) for figure in scene.figures]
    if scene.count:
        told = f"{_NUMBERS['en'][scene.count - 2]} {plural(scene.figures[0], name(scene.figures[0], 'en'))}"
    elif len(names) == 2 and scene.relation not in (None, "beside"):
        told = f"{names[0]} {scene.relation} {names[1]}"
    else:
        ordered = [with_a(figure, name(figure, "en")) for figure in in_order(scene)]
        told = join_words(ordered, "en")
    return f'{told} {where}, with the text "{word}"' if word else f"{told} {where}"


@cache
def words() -> tuple[str, ...]:
    """Every word of the lettering, by its number."""
    return tuple(str(word) for word in open_lettering().words)


def written(scene: Scene) -> str:
    """The word in it, "" where there is none."""
    return "" if scene.word is None else words()[scene.word]


def _korean(scene: Scene) -> str:
    if scene.is_painted:
        where = _KO_GROUND.get(scene.ground, IN_GROUND["ko"][scene.ground][0])  # type: ignore[index]
    else:
        where = f"{COLOUR_ADJECTIVES['ko'][scene.ground][0]} 배경에"  # type: ignore[index]
    word = written(scene)
    told_word = f'"{word}"{with_particle(word, "이", "")[len(word) :]}라고 쓰여 있습니다.' if word else ""
    if not scene.figures:
        return f"{where} {told_word}" if word else f"{ground(scene, 'ko')} 풍경입니다."
    names = [name(figure, "ko") for figure in scene.figures]
    if scene.count:
        first = scene.figures[0]
        counter = "명이" if is_person(first) else "마리가" if is_alive(first) else "개가"
        told = f"{names[0]} {_NUMBERS['ko'][scene.count - 2]} {counter}"
    elif len(names) == 2 and scene.relation not in (None, "beside"):
        over = {"above": "위쪽에", "on": "위에", "in front of": "앞에"}[scene.relation]
        told = f"{_subject(names[1])} 있고 그 {over} {_subject(names[0])}"
        return f"{where} {told} 있으며 {told_word}" if word else f"{where} {told} 있습니다."
    else:
        told = _subject(join_words([name(figure, "ko") for figure in in_order(scene)], "ko"))
    return f"{where} {told} 있고 {told_word}" if word else f"{where} {told} 있습니다."


def _subject(phrase: str) -> str:
    return with_particle(phrase, "이", "가")


def _japanese(scene: Scene) -> str:
    if scene.is_painted:
        where = _JA_GROUND.get(scene.ground, IN_GROUND["ja"][scene.ground][0])  # type: ignore[index]
    else:
        where = f"{COLOUR_ADJECTIVES['ja'][scene.ground][0]}背景に"  # type: ignore[index]
    word = written(scene)
    told_word = f"「{word}」と書かれています。"
    if not scene.figures:
        return f"{where}{told_word}" if word else f"{ground(scene, 'ja')}です。"
    names = [name(figure, "ja") for figure in scene.figures]
    first = scene.figures[0]
    if scene.count:
        counter = "人" if is_person(first) else "匹" if is_alive(first) else "つ"
        told, last = f"{names[0]}が{_NUMBERS['ja'][scene.count - 2]}{counter}", first
    elif len(names) == 2 and scene.relation not in (None, "beside"):
        over = {"above": "上方に", "on": "上に", "in front of": "前に"}[scene.relation]
        told, last = f"{names[1]}が{_there(scene.figures[1])}、その{over}{names[0]}が", first
    else:
        told = f"{join_words([name(figure, 'ja') for figure in in_order(scene)], 'ja')}が"
        last = in_order(scene)[-1]
    return f"{where}{told}{_there(last)}、{told_word}" if word else f"{where}{told}{_are(last)}。"


def _there(figure: Figure) -> str:
    return "おり" if is_alive(figure) else "あり"


def _are(figure: Figure) -> str:
    return "います" if is_alive(figure) else "あります"


def detail(scene: Scene, language: Language) -> str:
    """What stands where, the ground, and the word."""
    figures, word = in_order(scene), written(scene)
    match language:
        case "en":
            placed = [f"{with_a(f, name(f, 'en'))} {place_phrase(f.place, 'en')}" for f in figures]
            shown = f"The picture shows {join_words(placed, 'en')}. " if placed else ""
            text = f'The text says "{word}".' if word else "There is no text."
            plain = "" if scene.is_painted else "plain "
            return f"{shown}The background is {plain}{ground(scene, 'en')}. {text}"
        case "ko":
            placed = [f"{place_phrase(f.place, 'ko')} {name(f, 'ko')}" for f in figures]
            shown = f"{_subject(', '.join(placed))} 있습니다. " if placed else ""
            text = f'글자는 "{word}"입니다.' if word else "글자는 없습니다."
            return f"{shown}배경은 {ground(scene, 'ko')}입니다. {text}"
        case "ja":
            placed = [f"{place_phrase(f.place, 'ja')}{name(f, 'ja')}" for f in figures]
            shown = f"{'、'.join(placed)}が{_are(figures[-1])}。" if placed else ""
            text = f"文字は「{word}」です。" if word else "文字はありません。"
            return f"{shown}背景は{ground(scene, 'ja')}です。{text}"


def place(figure: Figure, language: Language) -> str:
    """Where it is, as an answer."""
    said = place_phrase(figure.place, "en") if language == "en" else PLACE_NOUNS[language][figure.place][0]
    return f"{said[:1].upper()}{said[1:]}"


@cache
def _shelf(design: str) -> Shelf:
    return Shelf([design], with_views=True)


@cache
def colour_of(figure_name: str, design: str) -> str | None:
    """The one colour that a drawing is of; None where it is of several."""
    pixels = _shelf(design.partition("+")[0])[Drawing(figure_name, design)].reshape(-1, 4)
    solid = pixels[pixels[:, 3] > 200][:, :3].astype(np.float32)
    if not len(solid):
        return None
    table = np.array(list(_RGB.values()), np.float32)
    weights = np.array([0.5, 0.7, 0.5], np.float32)
    nearest = (((solid[:, None] - table) ** 2) * weights).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(table)) / len(solid)
    return list(_RGB)[int(shares.argmax())] if shares.max() > _CLEAR else None
