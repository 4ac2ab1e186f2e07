"""Scenes and changes as wishes, which `models.image.wish_encoder` reads and tells: numbers of fields, 0 for nothing.

Those of the world of shapes too: things anywhere in a picture, and changes to what is told by its place or its shape
alone ("remove the shape on the left", "turn the star into a circle").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import torch

from models.image import wishes
from models.image.wish_encoder import WishConfig
from models.image.wishes import FIELDS, FIGURES, GLOBALS, PARTS
from training import edits as of_shapes
from training import world as shapes
from training.art.subjects import subjects
from training.composer.composing import RADIUS
from training.composer.edits import KINDS, Edit, EditKind
from training.composer.scene import GROUNDS, RELATIONS, SIDE, Figure, Scene
from training.picture.world import SHARES
from training.world import COLOURS, PLACES, SHAPES

Wanted = Scene | Edit | shapes.Scene | of_shapes.Edit
"""What a prompt may ask for."""
DESIGNS: Final = tuple(SHARES)
_SIZES: Final = ("big", "small")
_COLOUR_UNSAID: Final[dict[str, str]] = {
    "circle": "red", "square": "blue", "triangle": "green", "star": "yellow", "heart": "red", "cross": "red",
    "ring": "yellow", "diamond": "blue",
}  # fmt: skip
_CHANGES: Final[dict[of_shapes.EditKind, EditKind]] = {
    "background": "ground", "reshape": "replace", "recolour": "recolour", "remove": "remove", "add": "add",
}  # fmt: skip
"""What the changes to shapes are called among those to things."""
_NOTHING: Final = [0] * len(PARTS)


@cache
def classes() -> dict[str, int]:
    """A number, from 1, for everything that a figure can be; 0 is nothing."""
    return {name: number for number, name in enumerate((*SHAPES, *subjects()), 1)}


def _answers() -> dict[str, int]:
    """How many values each field has, "nothing" among them."""
    values = {
        "kind": len(KINDS), "design": len(DESIGNS), "ground": len(GROUNDS), "relation": len(RELATIONS),
        "what": len(classes()), "colour": len(COLOURS), "size": len(_SIZES), "place": len(PLACES),
    }  # fmt: skip
    return {field: 1 + values[field.split(" ")[0]] for field in FIELDS}


def wish_config(vocabulary: int) -> WishConfig:
    """Of an encoder for this world: it reads with 2 layers of width 128."""
    return WishConfig(
        vocab_size=vocabulary,
        d_model=128,
        d_kv=32,
        num_heads=4,
        d_ff=256,
        num_layers=2,
        relative_attention_max_distance=64,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        eos_token_id=1,
        answers=tuple(_answers().values()),
        shapes=len(SHAPES),
        drawings=1 + len(SHAPES) * len(COLOURS) + len(subjects()) * len(DESIGNS),
    )


def drawing_table(drawings: Mapping[str, tuple[str, ...]]) -> tuple[torch.Tensor, dict[int, tuple[str, str]]]:
    """Which drawing shows what: int64 [what, colour or design]; and what each drawing shows: (name, colour or design).

    `drawings` says which things each design has; what it lacks is drawn as in the first that has it. A colour of
    what is not named is shown by a circle: "paint the shape on the left blue".
    """
    named = _answers()
    table = torch.zeros(named["what 0"], max(named["colour 0"], named["design"]), dtype=torch.int64)
    shown: dict[int, tuple[str, str]] = {}
    for name, what in classes().items():
        ways = COLOURS if name in SHAPES else tuple(d for d in DESIGNS if name in drawings[d])
        rows = {}
        for way in ways:
            rows[way] = 1 + len(shown)
            shown[rows[way]] = (name, way)
        usual = rows[_COLOUR_UNSAID[name]] if name in SHAPES else next(iter(rows.values()), 0)
        for number, way in enumerate(COLOURS if name in SHAPES else DESIGNS, 1):
            table[what, number] = rows.get(way, usual)
        table[what, 0] = usual
    table[0, 1 : 1 + len(COLOURS)] = table[classes()["circle"], 1 : 1 + len(COLOURS)]
    return table, shown


def wish_of(wanted: Wanted) -> list[int]:
    """What a scene's prompt or a change's instruction asks for, as `FIELDS`."""
    if isinstance(wanted, shapes.Scene):
        whole = [0, 0, 1 + GROUNDS.index(wanted.background), 0]
        figures = [_shape(thing) for thing in wanted.things]
    elif isinstance(wanted, of_shapes.Edit):
        kind = _CHANGES[wanted.kind]
        ground = 1 + GROUNDS.index(wanted.after.background) if kind == "ground" else 0
        whole = [1 + list(KINDS).index(kind), 0, ground, 0]
        figures = [_shape_before(wanted), _shape_after(wanted)]
    elif isinstance(wanted, Scene):
        relation = 0 if wanted.relation is None else 1 + RELATIONS.index(wanted.relation)
        drawn = any(not figure.is_shape for figure in wanted.figures)
        design = 1 + DESIGNS.index(wanted.design) if drawn else 0
        whole = [0, design, 1 + GROUNDS.index(wanted.ground), relation]
        figures = [_figure(figure) for figure in wanted.figures]
    else:
        ground = 1 + GROUNDS.index(wanted.after.ground) if wanted.kind == "ground" else 0
        whole = [1 + list(KINDS).index(wanted.kind), 0, ground, 0]
        figures = [
            _NOTHING if wanted.target is None else _figure(wanted.target, placed=False),
            _NOTHING if wanted.result is None else _changed(wanted),
        ]
    figures += [_NOTHING] * (FIGURES - len(figures))
    return whole + [number for figure in figures for number in figure]


def where_of(wanted: Wanted) -> list[list[float]]:
    """Where each figure of `wish_of` is, x and y of its middle and its side as shares of the picture; 0 is nowhere.

    Of a change: where its target was, where its result is.
    """
    if isinstance(wanted, shapes.Scene | Scene):
        there = [_where(each) for each in (wanted.things if isinstance(wanted, shapes.Scene) else wanted.figures)]
    else:
        there = [[0.0] * 3 if each is None else _where(each) for each in (wanted.target, wanted.result)]
    return there + [[0.0] * 3] * (FIGURES - len(there))


def _where(figure: Figure | shapes.Thing) -> list[float]:
    if isinstance(figure, Figure):
        return [figure.centre[0] / SIDE, figure.centre[1] / SIDE, figure.side / SIDE]
    return [figure.centre[0] / shapes.SIDE, figure.centre[1] / shapes.SIDE, figure.radius / RADIUS / shapes.SIDE]


def _figure(figure: Figure, *, placed: bool = True) -> list[int]:
    colour = 0 if figure.colour is None else 1 + COLOURS.index(figure.colour)
    if not placed:
        return [classes()[figure.name], colour, 0, 0]
    size = 0 if figure.size is None else 1 + _SIZES.index(figure.size)
    return [classes()[figure.name], colour, size, 1 + PLACES.index(figure.place)]


def _changed(edit: Edit) -> list[int]:
    """What becomes of the target: its size where that changes or it is new, its place where it is new."""
    assert edit.result is not None
    what, colour, size, place = _figure(edit.result)
    return [what, colour, size if edit.kind in ("add", "resize") else 0, place if edit.kind == "add" else 0]


def _shape(thing: shapes.Thing) -> list[int]:
    return [
        classes()[thing.shape],
        1 + COLOURS.index(thing.colour),
        1 + _SIZES.index(thing.size),
        1 + PLACES.index(thing.place),
    ]


def _shape_before(edit: of_shapes.Edit) -> list[int]:
    """The target by what it is told by."""
    if edit.target is None or edit.told_by == "nothing":
        return _NOTHING
    what, colour, _, place = _shape(edit.target)
    match edit.told_by:
        case "looks":
            return [what, colour, 0, 0]
        case "shape":
            return [what, 0, 0, 0]
        case "place":
            return [0, 0, 0, place]


def _shape_after(edit: of_shapes.Edit) -> list[int]:
    """All of it when it is new, else what changes and what it is told by."""
    if edit.result is None:
        return _NOTHING
    what, colour, size, place = _shape(edit.result)
    match edit.kind:
        case "add":
            return [what, colour, size, place]
        case "reshape":
            return [what, 0, 0, 0]
    return [what if edit.told_by in ("looks", "shape") else 0, colour, 0, 0]


def nothing_wished(count: int) -> torch.Tensor:
    """So many wishes of an empty prompt: int64 [count, fields]."""
    return torch.zeros(count, len(FIELDS), dtype=torch.int64)


assert GLOBALS == ("kind", "design", "ground", "relation")  # as `wish_of` says them
assert ("scene", *KINDS) == wishes.KINDS
assert RELATIONS == wishes.RELATIONS
assert _SIZES == wishes.SIZES
assert tuple(wishes.PLACES) == PLACES
