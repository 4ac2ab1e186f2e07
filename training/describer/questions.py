"""Questions about pictures of the world of things and their answers, in English, Korean and Japanese.

As in the world of shapes (`training.questions`), answers are short and in the question's language, and the same
question about the same scene has the same answer. What no picture here tells is asked too: the answer is that it is not
known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from training import wordings as w
from training.art.subjects import subjects
from training.captions import COLOUR_ADJECTIVES, COLOUR_NOUNS, SHAPE_NOUNS, Language, pick, place_phrase
from training.composer.scene import Figure, Scene, named
from training.composer.words import GROUND_NAMES, IN_GROUND
from training.describer import words as d
from training.describer.kinds import colours_never, is_alive, is_doubtful, is_like, is_person, kind_of, may_be_there
from training.describer.naming import (
    asked_name,
    caption,
    colour_of,
    detail,
    ground,
    in_order,
    is_counted,
    is_plural,
    name,
    place,
    plural,
    sentence,
    with_a,
    written,
)
from training.questions import TASK_PROMPTS, fill, in_manner
from training.world import COLOURS, PLACES

_SHARES: Final = {
    "describe": 0.12, "caption": 0.05, "what": 0.2, "detail": 0.04, "objects": 0.06, "text": 0.1, "count": 0.04,
    "count named": 0.1, "ground": 0.06, "at": 0.05, "where": 0.12, "colour": 0.06, "yes/no": 0.24, "beyond": 0.03,
    "continue": 0.03,
}  # fmt: skip
_TRIES: Final = 8
_TASKS: Final = {"caption": "caption", "text": "ocr", "detail": "describe", "objects": "objects"}


SEVERAL: Final = 1 + len(PLACES)
"""`Asked.at` where several things have the name."""


@dataclass(frozen=True)
class Asked:
    """A question and its answer.

    Attributes:
        kind: what is asked for.
        language: of both.
        question: may be empty: a picture alone.
        answer: all of it.
        given: how many characters of the answer's beginning are told, not written by the model.
        name: how a thing is called that is asked for; "" where none is.
        thing: that thing's or shape's own name.
        at: where it is: 0 for nowhere, from 1 one of `PLACES`, or `SEVERAL`.
    """

    kind: str
    language: Language
    question: str
    answer: str
    given: int = 0
    name: str = ""
    thing: str = ""
    at: int = 0


class Said(NamedTuple):
    """A question and its answer.

    Attributes:
        question: without manners.
        answer: all of it.
        name: how a thing is called in the question; "" where none is asked for.
        thing: that thing, be it there or not.
    """

    question: str
    answer: str
    name: str = ""
    thing: Figure | None = None


_Pair = tuple[str, str] | Said | None
_Asker = Callable[[Scene, Language, np.random.Generator], _Pair]


def one(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    """Any of them."""
    return choices[int(rng.integers(len(choices)))]


def capital(text: str) -> str:
    """With a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def _describe(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    return fill(w.DESCRIBE, language, rng), sentence(scene, language)


def _caption(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    return fill(w.CAPTION, language, rng), sentence(scene, language)


def _what(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    """The name of what is there alone, or of the one thing of a kind."""
    if len(scene.figures) == 1 and rng.random() < 0.7:
        return _called(fill(d.WHAT_THING, language, rng), scene.figures[0], language)
    kinds = [
        kind
        for kind in d.WHAT_KIND
        if not is_doubtful(scene, kind) and sum(_is_of(f, kind) for f in scene.figures) == 1
    ]
    if not kinds:
        return None
    kind = one(tuple(kinds), rng)
    return _called(fill(d.WHAT_KIND[kind], language, rng), next(f for f in scene.figures if _is_of(f, kind)), language)


def _called(question: str, figure: Figure, language: Language) -> tuple[str, str]:
    bare = "one word" in question.lower()
    return question, capital(name(figure, language)) if bare else _answered(figure, language)


def _is_of(figure: Figure, kind: str) -> bool:
    return kind_of(figure) == kind


def _answered(figure: Figure, language: Language) -> str:
    said = name(figure, language)
    return capital(with_a(figure, said)) if language == "en" else said


def _detail(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    return fill(w.DETAIL if rng.random() < 0.7 else w.ANALYSE, language, rng), detail(scene, language)


def _objects(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    lines = [capital(name(figure, language)) for figure in in_order(scene)]
    return fill(d.OBJECTS, language, rng), "\n".join(lines) or d.EMPTY[language]


def _text(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    return fill(w.READ, language, rng), written(scene) or w.NO_TEXT[language]


def _number(count: int, language: Language, figure: Figure | None = None) -> str:
    korean, japanese = _counters(figure)
    return f"{count}{ {'en': '', 'ko': korean, 'ja': japanese if count else ''}[language] }"


def _counters(figure: Figure | None) -> tuple[str, str]:
    if figure is None or not is_alive(figure):
        return "개", "つ"
    return ("명", "人") if is_person(figure) else ("마리", "匹")


def _of(figure: Figure, said: str, question: str, language: Language) -> str:
    """The question in the words that go with the thing: "are the grapes", 猫はいますか, 고양이가 몇 마리."""
    if language == "en" and is_plural(figure, said):
        for singular, several in _AGREEING:
            question = question.replace(singular.format(said), several.format(said))
    elif is_alive(figure) and language != "en":
        korean, japanese = _counters(figure)
        if language == "ko":
            return (
                question.replace("몇 개", f"몇 {korean}")
                .replace("모두 몇이야", f"모두 몇 {korean}야")
                .replace("명야", "명이야")
            )
        for lifeless, living in _LIVING:
            question = question.replace(lifeless, living.format(japanese))
    return question


_AGREEING: Final = (
    ("Is there {}", "Are there {}"), ("is there {}", "are there {}"), ("Is {} ", "Are {} "),
    ("is the {}", "are the {}"), ("Where's the {}", "Where are the {}"), ("does the {}", "do the {}"),
    ("The {} is ", "The {} are "),
)  # fmt: skip
_LIVING: Final = (
    ("いくつありますか", "何{}いますか"), ("何個ありますか", "何{}いますか"), ("いくつ?", "何{}?"),
    ("ありますか", "いますか"), ("がある", "がいる"),
)  # fmt: skip


def _count(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    if rng.random() < 0.2:
        animals = sum(_is_of(figure, "animals") for figure in scene.figures)
        counter = {"en": "", "ko": "마리", "ja": "匹" if animals else ""}[language]
        return fill(d.COUNT_ANIMALS, language, rng), f"{animals}{counter}"
    return fill(w.COUNT_ALL, language, rng, shape=_thing_word(language, rng)), _number(len(scene.figures), language)


def _thing_word(language: Language, rng: np.random.Generator) -> str:
    return one(d.THING[language], rng)


def _count_named(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    wanted = _wanted(scene, rng)
    if not is_counted(wanted) or may_be_there(scene, wanted.name):
        return None
    found = sum((f.name, f.colour) == (wanted.name, wanted.colour) for f in scene.figures)
    said = asked_name(wanted, language, rng)
    names = plural(wanted, said) if language == "en" else said
    question = fill(d.COUNT_THINGS, language, rng, name=said, names=names)
    return Said(_of(wanted, said, question, language), _number(found, language, wanted), said, wanted)


def _wanted(scene: Scene, rng: np.random.Generator) -> Figure:
    """A thing to ask for: one that is there or one that is not, perhaps of the same kind."""
    if scene.figures and rng.random() < 0.5:
        return scene.figures[int(rng.integers(len(scene.figures)))]
    there = {figure.name for figure in scene.figures}
    kinds = {subjects()[figure.name].category for figure in scene.figures if not figure.is_shape}
    alike = rng.random() < 0.3
    others = [n for n, s in subjects().items() if n not in there and (not alike or not kinds or s.category in kinds)]
    # Where no other of the kind is sure to be absent, one of another kind is asked for.
    for _ in range(_TRIES):
        other = others[int(rng.integers(len(others)))]
        if not may_be_there(scene, other):
            return named(other)
    everything = [n for n in subjects() if n not in there and not may_be_there(scene, n)]
    return named(everything[int(rng.integers(len(everything)))])


def _ground(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    if not scene.is_painted:
        return fill(w.BACKGROUND, language, rng), capital(ground(scene, language))
    return fill(d.GROUND, language, rng), capital(ground(scene, language))


def _at(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    if not scene.figures:
        return None
    figure = scene.figures[int(rng.integers(len(scene.figures)))]
    if sum(f.place == figure.place for f in scene.figures) > 1:
        return None
    where = place_phrase(figure.place, language, rng)
    where = where if language == "en" else where.removesuffix("에").removesuffix("に")
    return fill(w.WHAT_AT, language, rng, place=where, shape=_thing_word(language, rng)), _answered(figure, language)


def _where(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    wanted = (
        _wanted(scene, rng)
        if rng.random() < 0.25 or not scene.figures
        else scene.figures[int(rng.integers(len(scene.figures)))]
    )
    found = [f for f in scene.figures if (f.name, f.colour) == (wanted.name, wanted.colour)]
    if len(found) > 1 or may_be_there(scene, wanted.name):
        return None
    said = asked_name(wanted, language, rng)
    question = _of(wanted, said, fill(w.WHERE, language, rng, name=said), language)
    if found:
        return Said(question, place(found[0], language), said, wanted)
    absent = d.NOT_THERE[language]
    return Said(question, absent.replace("ありません", "いません") if is_alive(wanted) else absent, said, wanted)


def _colour(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    told = [(f, f.colour or colour_of(f.name, scene.design)) for f in scene.figures]
    clear = [(f, c) for f, c in told if c is not None]
    if not clear:
        return None
    figure, colour = clear[int(rng.integers(len(clear)))]
    if figure.is_shape:
        said = SHAPE_NOUNS[language][figure.name][0]  # type: ignore[index]
        if sum(f.name == figure.name for f in scene.figures) > 1:
            return None
    else:
        said = asked_name(figure, language, rng)
    answer = d.COLOURS_SAID[language].get(colour) or COLOUR_NOUNS[language][colour][0]  # type: ignore[index]
    question = _of(figure, said, fill(w.COLOUR_NAMED, language, rng, name=said), language)
    return Said(question, capital(answer), said, figure)


def _yes_no(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    yes, no = w.YES_NO[language]
    chance = rng.random()
    if chance < 0.08:
        return fill(w.IS_TEXT, language, rng), yes if scene.word is not None else no
    if chance < 0.13:
        return fill(d.UNSAFE, language, rng), no
    if chance < 0.28:
        kind = one(tuple(d.IS_KIND), rng)
        if is_doubtful(scene, kind):
            return None
        return fill(d.IS_KIND[kind], language, rng), yes if any(_is_of(f, kind) for f in scene.figures) else no
    if chance < 0.42:
        return _is_ground(scene, language, rng)
    wanted = _wanted(scene, rng)
    there = [f for f in scene.figures if (f.name, f.colour) == (wanted.name, wanted.colour)]
    said = asked_name(wanted, language, rng)
    words = {"name": said, "a_name": with_a(wanted, said)}
    if chance < 0.9 or not there:
        question = _of(wanted, said, fill(w.IS_THERE, language, rng, **words), language)
        return Said(question, yes if there else no, said, wanted)
    if may_be_there(scene, wanted.name):
        return None
    at = there[0].place if rng.random() < 0.5 else PLACES[int(rng.integers(len(PLACES)))]
    where = place_phrase(at, language, rng)
    where = where if language == "en" else where.removesuffix("에").removesuffix("に")
    question = fill(w.IS_THERE_AT, language, rng, place=where, shape=_thing_word(language, rng), **words)
    right = yes if any(f.place == at for f in there) else no
    return Said(_of(wanted, said, question, language), right, said, wanted)


def _is_ground(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:
    yes, no = w.YES_NO[language]
    right = rng.random() < 0.5
    if scene.is_painted and rng.random() < 0.85:
        others = [each for each in IN_GROUND[language] if not is_like(each, scene.ground)]  # type: ignore[arg-type]
        asked = scene.ground if right else others[int(rng.integers(len(others)))]
        where = pick(IN_GROUND[language][asked], rng)  # type: ignore[index]
        called = pick(GROUND_NAMES[language][asked], rng)  # type: ignore[index]
        return fill(d.IS_GROUND, language, rng, where=where, ground=called), yes if right else no
    colours = [each for each in COLOURS if each != scene.ground]
    if scene.is_painted:
        colours = list(colours_never(scene.ground))  # type: ignore[arg-type]
    colour = scene.ground if right and not scene.is_painted else colours[int(rng.integers(len(colours)))]
    question = fill(
        w.IS_BACKGROUND, language, rng, colour=COLOUR_ADJECTIVES[language][colour][0],  # type: ignore[index]
        colour_noun=pick(COLOUR_NOUNS[language][colour], rng),  # type: ignore[index]
    )  # fmt: skip
    return question, yes if colour == scene.ground else no


def _beyond(scene: Scene, language: Language, rng: np.random.Generator) -> _Pair:  # noqa: ARG001
    return fill(d.BEYOND, language, rng), d.UNKNOWN[language]


_ASKERS: Final[dict[str, _Asker]] = {
    "describe": _describe, "caption": _caption, "what": _what, "detail": _detail, "objects": _objects, "text": _text,
    "count": _count, "count named": _count_named, "ground": _ground, "at": _at, "where": _where, "colour": _colour,
    "yes/no": _yes_no, "beyond": _beyond,
}  # fmt: skip


def ask(scene: Scene, rng: np.random.Generator, language: Language, kind: str | None = None) -> Asked | None:
    """Something to ask about a scene; None where it has nothing of the kind. JSON is asked for by `structured`."""
    shares = np.array(list(_SHARES.values()))
    chosen = kind or list(_SHARES)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    if chosen == "continue":
        lead = f"{one(d.LEADS, rng)} "
        question = TASK_PROMPTS["caption"] if rng.random() < 0.7 else fill(w.CAPTION, "en", rng)
        return Asked(chosen, "en", question, f"{lead}{caption(scene)}.", len(lead))
    pair = _ASKERS[chosen](scene, language, rng)
    if pair is None:
        return None
    said = Said(*pair)
    if language == "en" and chosen in _TASKS and rng.random() < 0.35:
        return Asked(chosen, language, TASK_PROMPTS[_TASKS[chosen]], said.answer)
    question = in_manner(said.question, language, rng)
    if said.thing is None:
        return Asked(chosen, language, question, said.answer)
    at = _at_place(scene, said.thing)
    return Asked(chosen, language, question, said.answer, name=said.name, thing=said.thing.name, at=at)


def _at_place(scene: Scene, thing: Figure) -> int:
    places = [f.place for f in scene.figures if (f.name, f.colour) == (thing.name, thing.colour)]
    return SEVERAL if len(places) > 1 else 1 + PLACES.index(places[0]) if places else 0


def ask_two(first: Scene, second: Scene, rng: np.random.Generator, language: Language) -> Asked:
    """Something to ask about two scenes."""
    chance = rng.random()
    shown = [[(f.name, f.colour) for f in in_order(scene)] for scene in (first, second)]
    if chance < 0.2:
        kind, question, answer = "same", fill(w.SAME, language, rng), w.YES_NO[language][first != second]
    elif chance < 0.6:
        wanted = _wanted((first, second)[int(rng.integers(2))], rng)
        while any(may_be_there(scene, wanted.name) for scene in (first, second)):
            wanted = _wanted((first, second)[int(rng.integers(2))], rng)
        there = [(wanted.name, wanted.colour) in each for each in shown]
        said, which = asked_name(wanted, language, rng), w.WHICH_SAID[language]
        kind, question = "which", fill(w.WHICH_HAS, language, rng, name=said, a_name=with_a(wanted, said))
        question = _of(wanted, said, question, language)
        answer = which[2] if all(there) else which[0] if there[0] else which[1] if there[1] else which[3]
    elif chance < 0.75:
        numbers = len(shown[0]), len(shown[1])
        kind, question = "more", fill(d.MORE, language, rng)
        answer = w.AS_MANY[language] if numbers[0] == numbers[1] else w.WHICH_SAID[language][numbers[1] > numbers[0]]
    else:
        kind = "both"
        question = fill(w.BOTH if rng.random() < 0.6 else w.DIFFERENCE, language, rng)
        answer = both((first, second), language)
    return Asked(kind, language, in_manner(question, language, rng), answer)


def both(scenes: tuple[Scene, ...], language: Language) -> str:
    """What each picture shows, a sentence each."""
    space = "" if language == "ja" else " "
    return space.join(
        f"{capital(nth)}: {sentence(scene, language)}" for nth, scene in zip(w.ORDINALS[language], scenes, strict=False)
    )
