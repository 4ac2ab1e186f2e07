"""Changes to a scene, and how people ask for them in English, Korean and Japanese: what an image edit learns from.

An `Edit` holds the scene before and after; because a scene holds every number that drawing needs, the two pictures
differ in nothing but what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from training.captions import (
    BACKGROUND_WORD,
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    PLACE_NOUNS,
    SHAPE_NOUNS,
    SHAPE_WORD,
    Language,
    article,
    as_typed,
    either,
    name_of,
    pick,
    place_phrase,
    towards,
    with_particle,
)
from training.world import COLOURS, SHAPES, Colour, Scene, Thing, apart, paint, random_scene, random_thing, recoloured

EditKind = Literal["recolour", "background", "remove", "reshape", "add"]
KINDS: dict[EditKind, float] = {"recolour": 0.3, "background": 0.2, "remove": 0.2, "reshape": 0.15, "add": 0.15}
"""Every kind and how often `random_edit` draws it."""
Reference = Literal["shape", "looks", "place", "nothing"]
"""What tells the target from the rest: "star", "red star", "shape on the left", or, of one thing alone, "shape"."""


@dataclass(frozen=True)
class Edit:
    """One change. `target` is the thing it is about as it was, told by `told_by`; `result` as it is afterwards."""

    kind: EditKind
    before: Scene
    after: Scene
    target: Thing | None = None
    result: Thing | None = None
    told_by: Reference = "looks"


def random_edit(rng: np.random.Generator, kind: EditKind | None = None) -> Edit:
    """A change, of a random kind unless one is given, to a random scene without a word."""
    chosen = kind or list(KINDS)[int(rng.choice(len(KINDS), p=list(KINDS.values())))]
    while True:
        scene = random_scene(rng, things=(0.0, 0.45, 0.33, 0.22))
        edit = _changed(scene, chosen, rng)
        if edit is not None:
            return replace(edit, told_by=_told_by(edit, rng))


def _told_by(edit: Edit, rng: np.random.Generator) -> Reference:
    chance = rng.random()
    if edit.target is None:
        return "looks"
    if chance < 0.12:
        return "nothing" if len(edit.before.things) == 1 and chance < 0.06 else "place"
    alone = [thing.shape for thing in edit.before.things].count(edit.target.shape) == 1
    return "shape" if alone and chance < 0.75 else "looks"


def undone(edit: Edit) -> Edit:
    """The change that leads back: what was added is removed, what was made yellow is made blue again."""
    back: dict[EditKind, EditKind] = {"add": "remove", "remove": "add"}
    # Of two things that are stars now, "star" would be either.
    told_by: Reference = "looks" if edit.told_by == "shape" and edit.kind != "recolour" else edit.told_by
    return Edit(back.get(edit.kind, edit.kind), edit.after, edit.before, edit.result, edit.target, told_by)


def _changed(scene: Scene, kind: EditKind, rng: np.random.Generator) -> Edit | None:
    """The change, or None where this scene leaves no room for it."""
    if kind == "background":
        taken = {scene.background, *(thing.colour for thing in scene.things)}
        colour = _one_of([c for c in COLOURS if c not in taken], rng)
        return Edit(kind, scene, replace(scene, background=colour, background_rgb=paint(colour, rng)))
    if kind == "add":
        added = random_thing(rng, scene.background, crowded=True, with_word=False)
        if len(scene.things) == 3 or not all(apart(added, other) for other in scene.things):
            return None
        return Edit(kind, scene, replace(scene, things=(*scene.things, added)), result=added)
    at = int(rng.integers(len(scene.things)))
    target = scene.things[at]
    others = scene.things[:at] + scene.things[at + 1 :]
    if kind == "remove":
        return Edit(kind, scene, replace(scene, things=others), target)
    if kind == "recolour":
        taken = {scene.background, target.colour, *(o.colour for o in others if o.shape == target.shape)}
        result = recoloured(target, _one_of([c for c in COLOURS if c not in taken], rng), rng)
    else:
        used = {target.shape, *(o.shape for o in others if o.colour == target.colour)}
        result = replace(target, shape=SHAPES[int(rng.choice([i for i, s in enumerate(SHAPES) if s not in used]))])
    return Edit(
        kind, scene, replace(scene, things=(*scene.things[:at], result, *scene.things[at + 1 :])), target, result
    )


def _one_of(colours: list[Colour], rng: np.random.Generator) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def instruction(edit: Edit, rng: np.random.Generator, language: Language = "en") -> str:
    """What someone may have typed to get this change."""
    match language:
        case "en":
            return _english(edit, rng)
        case "ko":
            return _korean(edit, rng)
        case "ja":
            return _japanese(edit, rng)


def _reference(edit: Edit, rng: np.random.Generator, language: Language) -> str:
    target = edit.target
    assert target is not None
    shape = SHAPE_WORD[language]
    match edit.told_by, language:
        case "nothing", _:
            return shape
        case "place", "en":
            return f"{shape} {place_phrase(target.place, 'en', rng)}"
        case "place", "ko":
            return f"{pick(PLACE_NOUNS['ko'][target.place], rng)} {shape}"
        case "place", "ja":
            return f"{pick(PLACE_NOUNS['ja'][target.place], rng)}の{shape}"
        case "shape", _:
            return pick(SHAPE_NOUNS[language][target.shape], rng)
    return name_of(target, language, rng, size=False)


def _english(edit: Edit, rng: np.random.Generator) -> str:
    please = "please " if rng.random() < 0.1 else ""
    return as_typed(please + _english_order(edit, rng), rng)


def _english_order(edit: Edit, rng: np.random.Generator) -> str:
    if edit.kind == "background":
        colour = pick(COLOUR_ADJECTIVES["en"][edit.after.background], rng)
        return either(
            rng,
            "make the background {c}", "make the background {c}", "change the background to {c}",
            "set the background to {c}", "turn the background {c}", "change the background color to {c}",
            "replace the background with {c}", "paint the background {c}", "{c} background",
            "put it on {a} background", "use {a} background",
        ).format(c=colour, a=article(colour))  # fmt: skip
    if edit.kind == "add":
        assert edit.result is not None
        name = article(name_of(edit.result, "en", rng, size=True))
        verb = either(rng, "add", "add", "add", "put", "draw", "place")
        return f"{verb} {name} {place_phrase(edit.result.place, 'en', rng)}"
    ref = _reference(edit, rng, "en")
    if edit.kind == "remove":
        return either(
            rng,
            "remove the {r}", "remove the {r}", "delete the {r}", "erase the {r}", "take away the {r}",
            "get rid of the {r}", "take the {r} out", "take out the {r}",
        ).format(r=ref)  # fmt: skip
    assert edit.result is not None
    if edit.kind == "recolour":
        colour = pick(COLOUR_ADJECTIVES["en"][edit.result.colour], rng)
        return either(
            rng,
            "make the {r} {c}", "make the {r} {c}", "make the {r} {c}", "change the {r} to {c}", "turn the {r} {c}",
            "paint the {r} {c}", "color the {r} {c}", "change the color of the {r} to {c}", "the {r} should be {c}",
        ).format(r=ref, c=colour)  # fmt: skip
    shape = article(pick(SHAPE_NOUNS["en"][edit.result.shape], rng))
    return either(
        rng,
        "turn the {r} into {s}", "replace the {r} with {s}", "change the {r} into {s}", "change the {r} to {s}",
        "make the {r} {s}",
    ).format(r=ref, s=shape)  # fmt: skip


def _korean(edit: Edit, rng: np.random.Generator) -> str:
    change = either(rng, "바꿔 줘", "바꿔줘", "바꿔 주세요", "변경해 줘", "변경해 주세요", "만들어 줘")
    if edit.kind == "background":
        noun, adjective = (pick(t["ko"][edit.after.background], rng) for t in (COLOUR_NOUNS, COLOUR_ADJECTIVES))
        ground = BACKGROUND_WORD["ko"]
        frames = (
            f"{ground}을 {towards(noun)} {change}",
            f"{ground}색을 {towards(noun)} {change}",
            f"{adjective} {ground}으로 {change}",
        )
        return either(rng, *frames)
    if edit.kind == "add":
        assert edit.result is not None
        name = with_particle(name_of(edit.result, "ko", rng, size=True), "을", "를")
        verb = either(rng, "추가해 줘", "추가해 주세요", "그려 줘", "넣어 줘", "추가해줘")
        return f"{place_phrase(edit.result.place, 'ko', rng)} {name} {verb}"
    ref = _reference(edit, rng, "ko")
    it = with_particle(ref, "을", "를")
    if edit.kind == "remove":
        return f"{it} {either(rng, '지워 줘', '지워줘', '없애 줘', '제거해 줘', '삭제해 줘', '삭제해 주세요', '빼 줘')}"
    assert edit.result is not None
    if edit.kind == "recolour":
        colour = towards(pick(COLOUR_NOUNS["ko"][edit.result.colour], rng))
        frames = (f"{it} {colour} {change}", f"{ref}의 색을 {colour} {change}", f"{it} {colour} 칠해 줘")
        return either(rng, *frames)
    return f"{it} {towards(pick(SHAPE_NOUNS['ko'][edit.result.shape], rng))} {change}"


def _japanese(edit: Edit, rng: np.random.Generator) -> str:
    change = either(rng, "にして", "にしてください", "に変えて", "に変えてください", "に変更して", "に変更してください")
    if edit.kind == "background":
        noun, adjective = (pick(t["ja"][edit.after.background], rng) for t in (COLOUR_NOUNS, COLOUR_ADJECTIVES))
        return either(rng, f"背景を{noun}{change}", f"背景の色を{noun}{change}", f"{adjective}背景{change}")
    if edit.kind == "add":
        assert edit.result is not None
        name = name_of(edit.result, "ja", rng, size=True)
        verb = either(rng, "追加して", "追加してください", "描いて", "加えて", "置いて")
        return f"{place_phrase(edit.result.place, 'ja', rng)}{name}を{verb}"
    ref = _reference(edit, rng, "ja")
    if edit.kind == "remove":
        verb = either(rng, "消して", "消してください", "取り除いて", "削除して", "削除してください", "なくして")
        return f"{ref}を{verb}"
    assert edit.result is not None
    if edit.kind == "recolour":
        colour = pick(COLOUR_NOUNS["ja"][edit.result.colour], rng)
        return either(rng, f"{ref}を{colour}{change}", f"{ref}の色を{colour}{change}", f"{ref}を{colour}で塗って")
    return f"{ref}を{pick(SHAPE_NOUNS['ja'][edit.result.shape], rng)}{change}"
