"""Questions about pictures of the built-in world and their answers, in English, Korean and Japanese.

`ask` asks about one scene, `ask_two` about two, `talk` about none. Answers are short and in the question's language;
only descriptions, lists and analyses are longer. The same question about the same scene always has the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeVar, get_args

import numpy as np

from training import wordings as w
from training.captions import (
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    COUNTS,
    PLACE_NOUNS,
    SHAPE_NOUNS,
    SIZE_ADJECTIVES,
    Language,
    article,
    canonical_caption,
    join_words,
    pick,
    place_phrase,
)
from training.world import COLOURS, PLACES, SHAPES, Colour, Place, Scene, Shape, Size, Thing, recoloured

TASK_PROMPTS: Final[dict[str, str]] = {
    "caption": "Describe this image in one short sentence.",
    "ocr": "Read the text in this image. Answer with the text only.",
    "describe": "Describe this image in detail: objects, colours, composition and mood.",
    "analyze": "Analyze this image: main subject; objects and positions; colours and light; visible text; meaning.",
    "objects": "List the objects in this image, one per line.",
}
"""What the server sends for each task of `/v1/vision/analyze`; the model has learnt exactly these."""

Kind = Literal[
    "describe", "caption", "detail", "analyse", "objects", "text", "count", "count named", "colour", "background",
    "shape", "what", "place", "size", "yes/no", "same", "difference", "which", "both", "one of two", "talk",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_ABOUT_ONE: Final[dict[Kind, float]] = {
    "describe": 0.05, "caption": 0.03, "detail": 0.03, "analyse": 0.02, "objects": 0.04, "text": 0.12,
    "count": 0.03, "count named": 0.05, "colour": 0.18, "background": 0.03, "shape": 0.15, "what": 0.03,
    "place": 0.07, "size": 0.04, "yes/no": 0.13,
}  # fmt: skip
_ABOUT_TWO: Final[dict[Kind, float]] = {
    "same": 0.2, "difference": 0.28, "which": 0.28, "both": 0.1, "one of two": 0.14,
}  # fmt: skip
_TASK_KINDS: Final[dict[Kind, str]] = {
    "caption": "caption", "text": "ocr", "detail": "describe", "analyse": "analyze", "objects": "objects",
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """The words of a question that mean a thing, and which things they fit."""

    words: str
    fits: Callable[[Thing], bool]


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, and what the question refers to, if to anything."""

    kind: Kind
    language: Language
    question: str
    answer: str
    reference: Reference | None = field(default=None, compare=False)


# Words

_T = TypeVar("_T")


def _one(choices: Sequence[_T], rng: np.random.Generator) -> _T:
    return choices[int(rng.integers(len(choices)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


_PARTICLES: Final = {"이야/야": ("이야", "야"), "이/가": ("이", "가"), "은/는": ("은", "는"), "를/을": ("을", "를")}
_PARTICLES_REVERSED: Final = {"는/은": ("은", "는"), "을/를": ("을", "를")}
_PARTICLE: Final = re.compile("(.)(" + "|".join([*_PARTICLES, *_PARTICLES_REVERSED]) + ")")


def _particles(text: str) -> str:
    """The Korean text with each "이/가" replaced by what the syllable before it asks for."""

    def chosen(match: re.Match[str]) -> str:
        offset = ord(match[1]) - 0xAC00
        closed = 0 <= offset < 11172 and offset % 28 != 0
        after_consonant, after_vowel = (_PARTICLES | _PARTICLES_REVERSED)[match[2]]
        return match[1] + (after_consonant if closed else after_vowel)

    return _PARTICLE.sub(chosen, text)


def fill(wordings: w.Wordings, language: Language, rng: np.random.Generator, **words: str) -> str:
    """One of the wordings, filled in."""
    text = _one(wordings[language], rng)
    filled = text.format(**{"picture": _one(w.PICTURE[language], rng), "shape": _one(w.SHAPE[language], rng), **words})
    return _particles(filled.replace("crosss", "crosses"))


def in_manner(question: str, language: Language, rng: np.random.Generator) -> str:
    """The question as people happen to type it: politely, without capitals, without the question mark."""
    if not question:
        return question
    if rng.random() < 0.1:
        picture = _one(w.PICTURE[language], rng)
        question = _particles(_one(w.LEAD_IN[language], rng).format(picture=picture)) + question
    elif language == "en" and rng.random() < 0.08:
        if question[-1] == "?" and rng.random() < 0.5:
            question = f"{_one(('Please answer: ', 'Can you tell me: ', 'Could you tell me: '), rng)}{question}"
        elif question[-1] == ".":
            question = f"Please {question[0].lower()}{question[1:]}"
    if rng.random() < 0.07:
        question += _one(w.TRAILING[language], rng)
    if language == "en" and rng.random() < 0.15:
        question = question.lower()
    if rng.random() < 0.12:
        question = question.rstrip("?.!")
    if language == "ja" and rng.random() < 0.3:
        question = question.replace("?", "？")
    return question


def phrase(
    thing: Thing, language: Language, rng: np.random.Generator | None = None, *, size: bool = True, colour: bool = True
) -> str:
    """Size, colour and shape without article; the plainest words without a generator."""

    def word(words: Sequence[str]) -> str:
        return words[0] if rng is None else pick(words, rng)

    words = [word(SHAPE_NOUNS[language][thing.shape])]
    if colour:
        words.insert(0, word(COLOUR_ADJECTIVES[language][thing.colour]))
    if size:
        words.insert(0, word(SIZE_ADJECTIVES[language][thing.size]))
    return ("" if language == "ja" else " ").join(words)


def _in_order(scene: Scene) -> list[Thing]:
    return sorted(scene.things, key=lambda t: PLACES.index(t.place))


def _colour_said(colour: Colour, language: Language) -> str:
    return _capital(COLOUR_NOUNS[language][colour][0])


def _place_asked(place: Place, language: Language, rng: np.random.Generator) -> str:
    """Where, as it stands in questions: "on the left", "왼쪽", "左"."""
    if language == "en":
        text = place_phrase(place, language, rng)
        return text.replace("on the", "to the") if rng.random() < 0.1 and "side" not in text else text
    return pick(PLACE_NOUNS[language][place], rng)


def _reference(scene: Scene, thing: Thing, language: Language, rng: np.random.Generator, *, colour: bool = True) -> str:
    """Words that mean this thing alone: "star", "red star", "red shape", or "big red star"; without colour if asked."""
    same_shape = sum(t.shape == thing.shape for t in scene.things)
    same_colour = sum(t.colour == thing.colour for t in scene.things)
    chance = rng.random()
    if same_shape == 1 and (chance < 0.5 or not colour):
        return phrase(thing, language, rng, size=rng.random() < 0.1, colour=False)
    if colour and same_colour == 1 and chance < 0.65:
        space = "" if language == "ja" else " "
        noun = _one(w.SHAPE[language], rng)
        return f"{pick(COLOUR_ADJECTIVES[language][thing.colour], rng)}{space}{noun}"
    return phrase(thing, language, rng, size=rng.random() < 0.15, colour=colour)


def _sentence(scene: Scene, language: Language) -> str:
    caption = canonical_caption(scene, language)
    return f"{_capital(caption)}." if language == "en" else caption


# What is asked about one scene: each function gives a question and its answer, or None when the scene has no such thing

_Asked = tuple[str, str] | tuple[str, str, Reference] | None


def _this(thing: Thing) -> Callable[[Thing], bool]:
    return lambda t: t.place == thing.place


def _describe(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.DESCRIBE, language, rng), _sentence(scene, language)


def _caption(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.CAPTION, language, rng), _sentence(scene, language)


def detailed(scene: Scene, language: Language) -> str:
    """Objects, colours, word, composition and mood."""
    things = _in_order(scene)
    number = len(things)
    mood = w.MOODS[language][scene.background]
    ground = COLOUR_NOUNS[language][scene.background][0]
    match language:
        case "en":
            listed = (
                join_words([f"{article(phrase(t, 'en'))} {place_phrase(t.place, 'en')}" for t in things], "en")
                if things
                else ""
            )
            shown = f"The picture shows {COUNTS['en'][number]} shape{'' if number == 1 else 's'}"
            text = f'The text "{scene.word}" is at the bottom.' if scene.word else "There is no text."
            return (
                f"{shown}{f': {listed}' if listed else ''}. The background is plain {ground}. {text} "
                f"The composition is simple and the mood is {mood}."
            )
        case "ko":
            listed = ", ".join(f"{place_phrase(t.place, 'ko')} {phrase(t, 'ko')}" for t in things)
            shown = f"도형이 {COUNTS['ko'][number]} 개 있습니다: {listed}." if things else "도형이 없습니다."
            text = f'아래쪽에 "{scene.word}"라고 쓰여 있습니다.' if scene.word else "글자는 없습니다."
            return f"{shown} 배경은 {ground}입니다. {text} 구도는 단순하고 분위기는 {mood}."
        case "ja":
            listed = "、".join(f"{place_phrase(t.place, 'ja')}{phrase(t, 'ja')}" for t in things)
            shown = f"図形が{len(things)}つあります:{listed}。" if things else "図形はありません。"
            text = f"下に「{scene.word}」と書かれています。" if scene.word else "文字はありません。"
            return f"{shown}背景は{ground}です。{text}構図は単純で、{mood}雰囲気です。"


def _detail(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.DETAIL, language, rng), detailed(scene, language)


def analysed(scene: Scene, language: Language) -> str:
    """Main subject; objects and positions; colours and light; visible text; meaning: a line each."""
    things = _in_order(scene)
    ground = COLOUR_NOUNS[language][scene.background][0]
    subject = next((t for t in things if t.size == "big"), things[0] if things else None)
    colours = list(dict.fromkeys(COLOUR_NOUNS[language][t.colour][0] for t in things))
    match language:
        case "en":
            return "\n".join(
                (
                    f"Main subject: {article(phrase(subject, 'en')) if subject else 'the text'}",
                    "Objects and positions: "
                    + ("; ".join(f"{phrase(t, 'en')} {place_phrase(t.place, 'en')}" for t in things) or "none"),
                    f"Colours and light: {', '.join([*colours, f'{ground} background'])}; even light",
                    f"Visible text: {scene.word or 'none'}",
                    "Meaning: a simple picture of shapes",
                )
            )
        case "ko":
            return "\n".join(
                (
                    f"주제: {phrase(subject, 'ko') if subject else '글자'}",
                    "물체와 위치: "
                    + ("; ".join(f"{place_phrase(t.place, 'ko')} {phrase(t, 'ko')}" for t in things) or "없음"),
                    f"색과 빛: {', '.join([*colours, f'{ground} 배경'])}; 고른 빛",
                    f"글자: {scene.word or '없음'}",
                    "의미: 단순한 도형 그림",
                )
            )
        case "ja":
            return "\n".join(
                (
                    f"主題: {phrase(subject, 'ja') if subject else '文字'}",
                    "物と位置: "
                    + ("、".join(f"{place_phrase(t.place, 'ja')}{phrase(t, 'ja')}" for t in things) or "なし"),
                    f"色と光: {'、'.join([*colours, f'{ground}の背景'])}、均一な光",
                    f"文字: {scene.word or 'なし'}",
                    "意味: 単純な図形の絵",
                )
            )


def _analyse(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.ANALYSE, language, rng), analysed(scene, language)


def listed(scene: Scene, language: Language) -> str:
    """The things, one a line; a word counts as a thing when it stands alone."""
    lines = [_capital(phrase(t, language)) for t in _in_order(scene)]
    return "\n".join(lines) or scene.word or w.NO_TEXT[language]


def _objects(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.OBJECTS, language, rng), listed(scene, language)


def _text(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.READ, language, rng), scene.word or w.NO_TEXT[language]


def _number(count: int, language: Language) -> str:
    return f"{count}{ {'en': '', 'ko': '개', 'ja': 'つ' if count else ''}[language] }"


def _count(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.COUNT_ALL, language, rng), _number(len(scene.things), language)


def _count_named(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    asked = _wanted(scene, rng)
    by_shape = rng.random() < 0.5
    if by_shape:
        name = pick(SHAPE_NOUNS[language][asked.shape], rng)
    else:
        space = "" if language == "ja" else " "
        name = f"{pick(COLOUR_ADJECTIVES[language][asked.colour], rng)}{space}{_one(w.SHAPE[language], rng)}"

    def fits(thing: Thing) -> bool:
        return thing.shape == asked.shape if by_shape else thing.colour == asked.colour

    question = fill(w.COUNT_NAMED, language, rng, name=name)
    return question, _number(sum(map(fits, scene.things)), language), Reference(name, fits)


def _colour(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    if not scene.things:
        return None
    thing = _one(scene.things, rng)
    answer = _colour_said(thing.colour, language)
    if len(scene.things) == 1 and rng.random() < 0.6:
        return fill(w.COLOUR_ONLY, language, rng), answer
    if sum(t.shape == thing.shape for t in scene.things) == 1 and rng.random() < 0.6:
        name = _reference(scene, thing, language, rng, colour=False)
    else:
        place = _place_asked(thing.place, language, rng)
        noun = pick(SHAPE_NOUNS[language][thing.shape], rng) if rng.random() < 0.3 else _one(w.SHAPE[language], rng)
        name = {"en": f"{noun} {place}", "ko": f"{place}에 있는 {noun}", "ja": f"{place}の{noun}"}[language]
    return fill(w.COLOUR_NAMED, language, rng, name=name), answer, Reference(name, _this(thing))


def _background(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    return fill(w.BACKGROUND, language, rng), _colour_said(scene.background, language)


def _shape_said(shape: Shape, language: Language) -> str:
    return _capital(SHAPE_NOUNS[language][shape][0])


def _shape(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    if not scene.things:
        return None
    thing = _one(scene.things, rng)
    answer = _shape_said(thing.shape, language)
    if len(scene.things) == 1 and rng.random() < 0.6:
        return fill(w.SHAPE_ONLY, language, rng), answer
    if sum(t.colour == thing.colour for t in scene.things) == 1 and rng.random() < 0.5:
        adjective = pick(COLOUR_ADJECTIVES[language][thing.colour], rng)
        noun = COLOUR_NOUNS[language][thing.colour][0]
        question = fill(w.SHAPE_COLOURED, language, rng, colour=adjective, colour_noun=noun)
        return question, answer, Reference(adjective if adjective in question else noun, _this(thing))
    place = _place_asked(thing.place, language, rng)
    return fill(w.SHAPE_AT, language, rng, place=place), answer, Reference(place, _this(thing))


def _what(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    if not scene.things:
        return None
    thing = _one(scene.things, rng)
    name = phrase(thing, language)
    place = _place_asked(thing.place, language, rng)
    question = fill(w.WHAT_AT, language, rng, place=place)
    return question, _capital(article(name)) if language == "en" else name, Reference(place, _this(thing))


def _place(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    if not scene.things:
        return None
    thing = _one(scene.things, rng)
    only = len(scene.things) == 1 and rng.random() < 0.3
    name = _one(w.SHAPE[language], rng) if only else _reference(scene, thing, language, rng)
    answer = place_phrase(thing.place, "en") if language == "en" else PLACE_NOUNS[language][thing.place][0]
    return fill(w.WHERE, language, rng, name=name), _capital(answer), Reference(name, _this(thing))


def _size(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    if not scene.things:
        return None
    thing = _one(scene.things, rng)
    bare = replace(thing, size="big" if rng.random() < 0.5 else "small")
    only = len(scene.things) == 1 and rng.random() < 0.4
    colour = sum(t.shape == thing.shape for t in scene.things) > 1 or rng.random() < 0.3
    name = _one(w.SHAPE[language], rng) if only else phrase(bare, language, rng, size=False, colour=colour)
    answer = w.SIZES_SAID[language][thing.size == "small"]
    return fill(w.SIZE, language, rng, name=name), answer, Reference(name, _this(thing))


def _wanted(scene: Scene, rng: np.random.Generator) -> Thing:
    """A thing to ask for: one of the scene's half of the time, else like it in part or not at all."""
    anything = Thing(
        shape=_one(SHAPES, rng), colour=_one(COLOURS, rng), size=_one(("big", "small"), rng), place=_one(PLACES, rng),
        rgb=(0, 0, 0), centre=(0.0, 0.0), radius=0.0, angle=0.0,
    )  # fmt: skip
    if not scene.things:
        return anything
    present = _one(scene.things, rng)
    chance = rng.random()
    if chance < 0.5:
        return present
    if chance < 0.65:
        return replace(present, shape=anything.shape)
    if chance < 0.8:
        return replace(present, colour=anything.colour)
    return anything


def _yes_no(scene: Scene, language: Language, rng: np.random.Generator) -> _Asked:
    yes, no = w.YES_NO[language]
    chance = rng.random()
    if chance < 0.07:
        return fill(w.IS_TEXT, language, rng), yes if scene.word else no
    if chance < 0.15:
        colour = scene.background if rng.random() < 0.5 else _one(COLOURS, rng)
        question = fill(
            w.IS_BACKGROUND, language, rng,
            colour=COLOUR_ADJECTIVES[language][colour][0], colour_noun=pick(COLOUR_NOUNS[language][colour], rng),
        )  # fmt: skip
        return question, yes if colour == scene.background else no
    if chance < 0.22:
        return fill(w.FLAGS, language, rng), no
    if chance < 0.3:
        name = _one(w.STRANGE[language], rng)
        return fill(w.IS_THERE, language, rng, name=name, a_name=article(name)), no
    if chance < 0.42 and scene.things:
        thing = _one(scene.things, rng)
        if sum(t.shape == thing.shape for t in scene.things) == 1:
            colour = thing.colour if rng.random() < 0.5 else _one((*COLOURS, scene.background), rng)
            name = pick(SHAPE_NOUNS[language][thing.shape], rng)
            question = fill(
                w.IS_COLOUR, language, rng, name=name,
                colour=COLOUR_ADJECTIVES[language][colour][0], colour_noun=pick(COLOUR_NOUNS[language][colour], rng),
            )  # fmt: skip
            return question, yes if colour == thing.colour else no, Reference(name, _this(thing))
    wanted = _wanted(scene, rng)
    placed = chance > 0.85
    fits, name = _named(wanted, language, rng)
    found = any(fits(t) and (not placed or t.place == wanted.place) for t in scene.things)
    if placed:
        place = _place_asked(wanted.place, language, rng)
        question = fill(w.IS_THERE_AT, language, rng, name=name, a_name=article(name), place=place)
    else:
        question = fill(w.IS_THERE, language, rng, name=name, a_name=article(name))
    return question, yes if found else no, Reference(name, fits)


def _named(wanted: Thing, language: Language, rng: np.random.Generator) -> tuple[Callable[[Thing], bool], str]:
    """A name by shape, colour or both, and which things it fits."""
    chance = rng.random()
    if chance < 0.4:
        return lambda t: t.shape == wanted.shape, phrase(wanted, language, rng, size=False, colour=False)
    if chance < 0.55:
        space = "" if language == "ja" else " "
        adjective = pick(COLOUR_ADJECTIVES[language][wanted.colour], rng)
        return lambda t: t.colour == wanted.colour, f"{adjective}{space}{_one(w.SHAPE[language], rng)}"
    if chance < 0.9:
        name = phrase(wanted, language, rng, size=False)
        return lambda t: (t.shape, t.colour) == (wanted.shape, wanted.colour), name
    key = (wanted.shape, wanted.colour, wanted.size)
    return lambda t: (t.shape, t.colour, t.size) == key, phrase(wanted, language, rng)


_ASKERS: Final[dict[Kind, Callable[[Scene, Language, np.random.Generator], _Asked]]] = {
    "describe": _describe, "caption": _caption, "detail": _detail, "analyse": _analyse, "objects": _objects,
    "text": _text, "count": _count, "count named": _count_named, "colour": _colour, "background": _background,
    "shape": _shape, "what": _what, "place": _place, "size": _size, "yes/no": _yes_no,
}  # fmt: skip


def ask(
    scene: Scene,
    rng: np.random.Generator,
    language: Language = "en",
    kind: Kind | None = None,
    *,
    plainly: bool = False,
) -> Exchange | None:
    """Something to ask about one scene; None when the scene has nothing of the given kind to ask about.

    `plainly`: no lead-ins and no careless typing. A third of the English task kinds are asked in the server's words.
    """
    chosen = kind or _drawn(_ABOUT_ONE, rng)
    asked = _ASKERS[chosen](scene, language, rng)
    if asked is None:
        return ask(scene, rng, language, plainly=plainly) if kind is None else None
    question, answer, *references = asked
    if language == "en" and chosen in _TASK_KINDS and rng.random() < 0.35:
        return Exchange(chosen, language, TASK_PROMPTS[_TASK_KINDS[chosen]], answer)
    typed = question if plainly else in_manner(question, language, rng)
    return Exchange(chosen, language, typed, answer, *references)


def _drawn(weights: dict[Kind, float], rng: np.random.Generator) -> Kind:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


# Two scenes


def changed(scene: Scene, rng: np.random.Generator) -> Scene:
    """A copy that differs in one respect, or not at all: a colour, the background, a thing gone, or the word."""
    chance = rng.random()
    if chance < 0.15 or not scene.things:
        return scene
    at = int(rng.integers(len(scene.things)))
    thing = scene.things[at]
    others = [t.colour for t in scene.things if t.shape == thing.shape]
    if chance < 0.5:
        colour = _one([c for c in COLOURS if c != scene.background and c not in others], rng)
        changed_thing = recoloured(thing, colour, rng)
    elif chance < 0.75:
        used = {t.shape for t in scene.things}
        changed_thing = replace(thing, shape=_one([s for s in SHAPES if s not in used], rng))
    elif len(scene.things) > 1:
        return replace(scene, things=scene.things[:at] + scene.things[at + 1 :])
    else:
        return scene
    return replace(scene, things=(*scene.things[:at], changed_thing, *scene.things[at + 1 :]))


def difference(first: Scene, second: Scene, language: Language) -> str:
    """How two scenes differ: the one respect, or what each shows."""
    if first.description() == second.description():
        return {"en": "They are the same", "ko": "두 그림은 같습니다", "ja": "同じです"}[language]
    said = {t.place: t for t in first.things}, {t.place: t for t in second.things}
    if (first.background, first.word) == (second.background, second.word):
        differing = [p for p in PLACES if _look(said[0].get(p)) != _look(said[1].get(p))]
        if len(differing) == 1:
            return _one_difference(said[0].get(differing[0]), said[1].get(differing[0]), language)
    return both([first, second], language)


def _look(thing: Thing | None) -> tuple[Shape, Colour, Size] | None:
    return (thing.shape, thing.colour, thing.size) if thing else None


def _one_difference(before: Thing | None, after: Thing | None, language: Language) -> str:
    if before and after and before.shape == after.shape:
        shape = phrase(after, language, size=False, colour=False)
        old, new = (COLOUR_NOUNS[language][t.colour][0] for t in (before, after))
        return {
            "en": f"The {shape} is {old} in the first and {new} in the second",
            "ko": _particles(f"{shape}이/가 첫 번째는 {old}, 두 번째는 {new}입니다"),
            "ja": f"{shape}が1枚目は{old}、2枚目は{new}です",
        }[language]
    if before and after:
        old, new = (phrase(t, language, size=False) for t in (before, after))
        return {
            "en": f"The first has {article(old)} and the second {article(new)}",
            "ko": _particles(f"첫 번째에는 {old}이/가, 두 번째에는 {new}이/가 있습니다"),
            "ja": f"1枚目には{old}、2枚目には{new}があります",
        }[language]
    only, at = (before, 0) if before else (after, 1)
    assert only is not None
    name, nth = phrase(only, language, size=False), w.ORDINALS[language][at]
    return {
        "en": f"Only the {nth} has {article(name)}",
        "ko": _particles(f"{nth}에만 {name}이/가 있습니다"),
        "ja": f"{nth}だけに{name}があります",
    }[language]


def both(scenes: Sequence[Scene], language: Language) -> str:
    """What each picture shows, a sentence each."""
    sentences = []
    for nth, scene in zip(w.ORDINALS[language], scenes, strict=False):
        shown = [phrase(t, language, size=False) for t in _in_order(scene)]
        if not shown:
            shown = {"en": ["text"], "ko": ["글자"], "ja": ["文字"]}[language]
        elif language == "en":
            shown = [article(s) for s in shown]
        things = join_words(shown, language)
        sentences.append(
            {"en": f"{_capital(nth)}: {things}.", "ko": f"{nth}: {things}.", "ja": f"{nth}: {things}。"}[language]
        )
    return " ".join(sentences)


def ask_two(
    first: Scene, second: Scene, rng: np.random.Generator, language: Language = "en", kind: Kind | None = None
) -> Exchange:
    """Something to ask about two scenes."""
    kind = kind or _drawn(_ABOUT_TWO, rng)
    same = first.description() == second.description()
    reference: Reference | None = None
    match kind:
        case "same":
            question, answer = fill(w.SAME, language, rng), w.YES_NO[language][not same]
        case "difference":
            question, answer = fill(w.DIFFERENCE, language, rng), difference(first, second, language)
        case "both":
            question, answer = fill(w.BOTH, language, rng), both([first, second], language)
        case "one of two":
            return _ask_one_of_two(first, second, rng, language)
        case _:
            question, answer, reference = _ask_which(first, second, rng, language)
    return Exchange(kind, language, in_manner(question, language, rng), answer, reference)


def _ask_which(
    first: Scene, second: Scene, rng: np.random.Generator, language: Language
) -> tuple[str, str, Reference | None]:
    said = w.WHICH_SAID[language]
    if rng.random() < 0.15:
        numbers = len(first.things), len(second.things)
        question = fill(w.MORE, language, rng)
        return question, w.AS_MANY[language] if numbers[0] == numbers[1] else said[numbers[1] > numbers[0]], None
    fits, name = _named(_wanted((first, second)[int(rng.integers(2))], rng), language, rng)
    in_first, in_second = any(map(fits, first.things)), any(map(fits, second.things))
    answer = said[2] if in_first and in_second else said[0] if in_first else said[1] if in_second else said[3]
    return fill(w.WHICH_HAS, language, rng, name=name, a_name=article(name)), answer, Reference(name, fits)


def _ask_one_of_two(first: Scene, second: Scene, rng: np.random.Generator, language: Language) -> Exchange:
    """A question about one of two pictures, when it shows one thing; else what each shows."""
    at = int(rng.integers(2))
    scene = (first, second)[at]
    nth = w.ORDINALS[language][at]
    if len(scene.things) != 1:
        return Exchange("both", language, fill(w.BOTH, language, rng), both([first, second], language))
    (thing,) = scene.things
    if rng.random() < 0.5:
        question, answer = fill(w.COLOUR_IN, language, rng, nth=nth), _colour_said(thing.colour, language)
    else:
        question, answer = fill(w.SHAPE_IN, language, rng, nth=nth), _shape_said(thing.shape, language)
    return Exchange("one of two", language, in_manner(question, language, rng), answer)


# No picture


def talk(rng: np.random.Generator, language: Language = "en") -> Exchange:
    """Words without a picture, or a question about one that was not sent."""
    chance = rng.random()
    if chance < 0.35:
        question, answer = fill(w.GREETING, language, rng), w.NOT_GREETING[language]
    elif chance < 0.5:
        question, answer = fill(w.WHO, language, rng), w.NOT_TALK[language]
    elif chance < 0.75:
        question, answer = fill(w.OFF_TOPIC, language, rng), w.NOT_SENT[language]
    else:
        table = _one((w.COLOUR_ONLY, w.SHAPE_ONLY, w.COUNT_ALL, w.READ, w.DETAIL, w.CAPTION, w.OBJECTS), rng)
        question, answer = fill(table, language, rng), w.NOT_SENT[language]
    return Exchange("talk", language, in_manner(question, language, rng), answer)
