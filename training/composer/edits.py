"""Changes to a scene of things, and how people ask for them in three languages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from training.captions import (
    BACKGROUND_WORD,
    COLOUR_ADJECTIVES,
    COLOUR_NOUNS,
    Language,
    article,
    as_typed,
    either,
    pick,
    place_phrase,
    towards,
    with_particle,
)
from training.composer.prompts import described, noun, with_article
from training.composer.scene import GROUNDS, Figure, Mix, Scene, Stock, on_ground, random_scene, sides_alone
from training.composer.words import GROUND_NAMES, IN_GROUND
from training.world import COLOURS, Size, paint

EditKind = Literal["ground", "replace", "add", "remove", "resize", "recolour"]
KINDS: Final[dict[EditKind, float]] = {
    "ground": 0.32, "replace": 0.24, "add": 0.15, "remove": 0.13, "resize": 0.08, "recolour": 0.08,
}  # fmt: skip
"""Every kind and how often `random_edit` draws it."""
_MIX: Final = Mix(figures=(0.0, 0.55, 0.33, 0.12), painted=0.45, same=0.0)


@dataclass(frozen=True)
class Edit:
    """One change. `target` is the figure it is about as it was, `result` as it is afterwards."""

    kind: EditKind
    before: Scene
    after: Scene
    target: Figure | None = None
    result: Figure | None = None


def random_edit(rng: np.random.Generator, stock: Stock, kind: EditKind | None = None) -> Edit:
    """A change, of a random kind unless one is given, to a random scene."""
    chosen = kind or list(KINDS)[int(rng.choice(len(KINDS), p=list(KINDS.values())))]
    while True:
        edit = _changed(random_scene(rng, stock, _MIX), chosen, rng, stock)
        if edit is not None:
            return edit


def undone(edit: Edit) -> Edit:
    """The change that leads back."""
    back: dict[EditKind, EditKind] = {"add": "remove", "remove": "add"}
    return Edit(back.get(edit.kind, edit.kind), edit.after, edit.before, edit.result, edit.target)


def _changed(scene: Scene, kind: EditKind, rng: np.random.Generator, stock: Stock) -> Edit | None:
    """The change, or None where this scene leaves no room for it."""
    if kind == "ground":
        taken = {scene.ground, *(figure.colour for figure in scene.figures)}
        grounds = [ground for ground in GROUNDS if ground not in taken]
        return Edit(kind, scene, on_ground(scene, grounds[int(rng.integers(len(grounds)))], rng))
    if kind == "add":
        removed = _changed(scene, "remove", rng, stock)
        return None if removed is None else undone(removed)
    at = int(rng.integers(len(scene.figures)))
    target = scene.figures[at]
    if kind == "remove":
        if len(scene.figures) < 2 or scene.relation in ("on", "in front of"):
            return None
        rest = scene.figures[:at] + scene.figures[at + 1 :]
        return Edit(kind, scene, replace(scene, figures=rest, relation="beside" if len(rest) == 2 else None), target)
    result = _other(target, scene, kind, rng, stock)
    if result is None:
        return None
    figures = (*scene.figures[:at], result, *scene.figures[at + 1 :])
    return Edit(kind, scene, replace(scene, figures=figures), target, result)


def _other(target: Figure, scene: Scene, kind: EditKind, rng: np.random.Generator, stock: Stock) -> Figure | None:
    names = {figure.name for figure in scene.figures}
    if kind == "replace":
        if target.is_shape:
            return None
        things = stock.drawings[scene.design]
        name = things[int(rng.integers(len(things)))]
        return None if name in names else replace(target, name=name)
    if kind == "recolour":
        if not target.is_shape:
            return None
        colours = [c for c in COLOURS if c not in (scene.ground, *(f.colour for f in scene.figures))]
        colour = colours[int(rng.integers(len(colours)))]
        return replace(target, colour=colour, rgb=paint(colour, rng))
    if len(scene.figures) > 1 or target.place != "centre" or scene.word is not None:
        return None
    of_size = sides_alone(target)
    sizes: tuple[Size | None, ...] = ("small", None, "big")
    sides = {size: float(rng.uniform(*of_size[size])) for size in sizes}
    others = [size for size in sizes if size != target.size]
    size = others[int(rng.integers(2))]
    return replace(target, size=size, side=sides[size])


def instruction(edit: Edit, rng: np.random.Generator, language: Language) -> str:
    """What someone may have typed to get this change."""
    match language:
        case "en":
            please = "please " if rng.random() < 0.1 else ""
            return as_typed(please + _english(edit, rng), rng)
        case "ko":
            return _korean(edit, rng)
        case "ja":
            return _japanese(edit, rng)


def _reference(edit: Edit, rng: np.random.Generator, language: Language) -> str:
    """The target by its name."""
    assert edit.target is not None
    return noun(edit.target, language, rng)


def _neighbour(edit: Edit, rng: np.random.Generator, language: Language) -> str | None:
    """The name of something that is there already, to say by it where the new thing goes; or None."""
    there = edit.before.figures
    return noun(there[0], language, rng) if len(there) == 1 and rng.random() < 0.3 else None


def _grows(edit: Edit) -> bool:
    assert edit.target is not None
    assert edit.result is not None
    return edit.result.side > edit.target.side


def _english(edit: Edit, rng: np.random.Generator) -> str:
    if edit.kind == "ground":
        ground = edit.after.ground
        if edit.after.is_painted:
            name = pick(GROUND_NAMES["en"][ground], rng)  # type: ignore[index]
            where = pick(IN_GROUND["en"][ground], rng)  # type: ignore[index]
            return either(
                rng, f"change the background to {name}", f"change the background to {name}", f"put it {where}",
                f"make the background {name}", f"replace the background with {name}", f"move it {where}",
                f"set the background to {name}", f"place it {where}", f"{name} as background",
            )  # fmt: skip
        colour = pick(COLOUR_ADJECTIVES["en"][ground], rng)  # type: ignore[index]
        return either(
            rng, f"make the background {colour}",
            f"change the background to {colour}", f"set the background to {colour}",
            f"change the background color to {colour}", f"put it on {article(colour)} background",
            f"{colour} background", f"use {article(colour)} background", f"replace the background with {colour}",
        )  # fmt: skip
    if edit.kind == "add":
        assert edit.result is not None
        thing = with_article(edit.result, described(edit.result, "en", rng, bare=True))
        verb = either(rng, "add", "add", "put", "place")
        other = _neighbour(edit, rng, "en")
        if other is not None:
            return f"{verb} {thing} {either(rng, 'next to', 'beside', 'near', 'to', 'to')} the {other}"
        where = f" {place_phrase(edit.result.place, 'en', rng)}" if rng.random() < 0.8 else ""
        return f"{verb} {thing}{where}{either(rng, '', '', '', ' to the picture', ' to the image')}"
    it = f"the {_reference(edit, rng, 'en')}"
    if edit.kind == "remove":
        return either(rng, f"remove {it}", f"delete {it}", f"erase {it}", f"take away {it}", f"get rid of {it}")
    assert edit.result is not None
    if edit.kind == "recolour":
        assert edit.result.colour is not None
        colour = pick(COLOUR_ADJECTIVES["en"][edit.result.colour], rng)
        return either(
            rng, f"make {it} {colour}", f"change {it} to {colour}", f"turn {it} {colour}", f"paint {it} {colour}"
        )
    if edit.kind == "resize":
        if edit.result.size == "big":
            return either(rng, f"make {it} big", f"make {it} bigger", f"enlarge {it}", f"make {it} very large")
        if edit.result.size == "small":
            return either(rng, f"make {it} small", f"make {it} smaller", f"shrink {it}", f"make {it} tiny")
        middle = "a bit bigger" if _grows(edit) else "a bit smaller"
        return either(rng, f"make {it} {middle}", f"make {it} middle-sized", f"make {it} {middle}")
    thing = with_article(edit.result, noun(edit.result, "en", rng))
    return either(
        rng, f"replace {it} with {thing}", f"turn {it} into {thing}",
        f"change {it} to {thing}", f"change {it} into {thing}",
        f"make {it} {thing}", f"{thing} instead of {it}",
    )  # fmt: skip


def _korean(edit: Edit, rng: np.random.Generator) -> str:
    change = either(rng, "바꿔 줘", "바꿔줘", "바꿔 주세요", "변경해 줘", "변경해 주세요", "만들어 줘")
    if edit.kind == "ground":
        ground, word = edit.after.ground, BACKGROUND_WORD["ko"]
        if edit.after.is_painted:
            name = pick(GROUND_NAMES["ko"][ground], rng)  # type: ignore[index]
            return either(
                rng,
                f"{word}을 {towards(name)} {change}",
                f"{word}을 {towards(name)} {change}",
                f"{name} {word}으로 {change}",
            )
        colour = towards(pick(COLOUR_NOUNS["ko"][ground], rng))  # type: ignore[index]
        adjective = pick(COLOUR_ADJECTIVES["ko"][ground], rng)  # type: ignore[index]
        return either(
            rng, f"{word}을 {colour} {change}", f"{word}색을 {colour} {change}", f"{adjective} {word}으로 {change}"
        )
    if edit.kind == "add":
        assert edit.result is not None
        thing = with_particle(described(edit.result, "ko", rng, bare=True), "을", "를")
        other = _neighbour(edit, rng, "ko")
        where = f"{place_phrase(edit.result.place, 'ko', rng)} " if rng.random() < 0.8 else ""
        where = where if other is None else f"{other} 옆에 "
        return f"{where}{thing} {either(rng, '추가해 줘', '추가해줘', '추가해 주세요', '넣어 줘')}"
    name = _reference(edit, rng, "ko")
    it = with_particle(name, "을", "를")
    if edit.kind == "remove":
        return f"{it} {either(rng, '지워 줘', '지워줘', '없애 줘', '제거해 줘', '삭제해 줘', '삭제해 주세요', '빼 줘')}"
    assert edit.result is not None
    if edit.kind == "recolour":
        assert edit.result.colour is not None
        colour = towards(pick(COLOUR_NOUNS["ko"][edit.result.colour], rng))
        return either(rng, f"{it} {colour} {change}", f"{name}의 색을 {colour} {change}", f"{it} {colour} 칠해 줘")
    if edit.kind == "resize":
        if edit.result.size == "big":
            return f"{it} {either(rng, '크게 해 줘', '더 크게 해 줘', '크게 만들어 줘', '아주 크게 그려 줘')}"
        if edit.result.size == "small":
            return f"{it} {either(rng, '작게 해 줘', '더 작게 해 줘', '작게 만들어 줘', '아주 작게 그려 줘')}"
        return f"{it} {'조금 크게' if _grows(edit) else '조금 작게'} {either(rng, '해 줘', '만들어 줘')}"
    return f"{it} {towards(noun(edit.result, 'ko', rng))} {change}"


def _japanese(edit: Edit, rng: np.random.Generator) -> str:
    change = either(rng, "にして", "にしてください", "に変えて", "に変えてください", "に変更して", "に変更してください")
    if edit.kind == "ground":
        ground = edit.after.ground
        if edit.after.is_painted:
            name = pick(GROUND_NAMES["ja"][ground], rng)  # type: ignore[index]
            return either(rng, f"背景を{name}{change}", f"背景を{name}{change}", f"{name}の背景{change}")
        colour = pick(COLOUR_NOUNS["ja"][ground], rng)  # type: ignore[index]
        adjective = pick(COLOUR_ADJECTIVES["ja"][ground], rng)  # type: ignore[index]
        return either(rng, f"背景を{colour}{change}", f"背景の色を{colour}{change}", f"{adjective}背景{change}")
    if edit.kind == "add":
        assert edit.result is not None
        thing = described(edit.result, "ja", rng, bare=True)
        other = _neighbour(edit, rng, "ja")
        where = place_phrase(edit.result.place, "ja", rng) if rng.random() < 0.8 else ""
        where = where if other is None else f"{other}の{either(rng, '隣に', '横に', 'そばに')}"
        return f"{where}{thing}を{either(rng, '追加して', '追加してください', '加えて', '置いて')}"
    name = _reference(edit, rng, "ja")
    if edit.kind == "remove":
        verb = either(rng, "消して", "消してください", "取り除いて", "削除して", "削除してください", "なくして")
        return f"{name}を{verb}"
    assert edit.result is not None
    if edit.kind == "recolour":
        assert edit.result.colour is not None
        colour = pick(COLOUR_NOUNS["ja"][edit.result.colour], rng)
        return either(rng, f"{name}を{colour}{change}", f"{name}の色を{colour}{change}", f"{name}を{colour}で塗って")
    if edit.kind == "resize":
        if edit.result.size == "big":
            return f"{name}を{either(rng, '大きくして', 'もっと大きくして', '大きくしてください', 'とても大きくして')}"
        if edit.result.size == "small":
            return f"{name}を{either(rng, '小さくして', 'もっと小さくして', '小さくしてください', 'とても小さくして')}"
        return f"{name}を少し{'大きく' if _grows(edit) else '小さく'}{either(rng, 'して', 'してください')}"
    return f"{name}を{noun(edit.result, 'ja', rng)}{change}"
