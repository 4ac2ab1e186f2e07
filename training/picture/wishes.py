"""Scenes and changes as wishes, which `models.image.painter` reads and tells: numbers of fields, 0 for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

import torch

from models.image.painter import FIELDS, FIGURES, GLOBALS, PARTS, WishConfig
from training.art.subjects import subjects
from training.composer.edits import KINDS, Edit
from training.composer.scene import GROUNDS, RELATIONS, Figure, Scene
from training.picture.world import SHARES
from training.world import COLOURS, PLACES, SHAPES

DESIGNS: Final = tuple(SHARES)
_SIZES: Final = ("big", "small")
_COLOUR_UNSAID: Final[dict[str, str]] = {
    "circle": "red", "square": "blue", "triangle": "green", "star": "yellow", "heart": "red", "cross": "red",
    "ring": "yellow", "diamond": "blue",
}  # fmt: skip


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

    `drawings` says which things each design has; what it lacks is drawn as in the first that has it.
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
    return table, shown


def wish_of(wanted: Scene | Edit) -> list[int]:
    """What a scene's prompt or a change's instruction asks for, as `FIELDS`."""
    if isinstance(wanted, Scene):
        relation = 0 if wanted.relation is None else 1 + RELATIONS.index(wanted.relation)
        drawn = any(not figure.is_shape for figure in wanted.figures)
        design = 1 + DESIGNS.index(wanted.design) if drawn else 0
        whole = [0, design, 1 + GROUNDS.index(wanted.ground), relation]
        figures = [_figure(figure) for figure in wanted.figures]
    else:
        ground = 1 + GROUNDS.index(wanted.after.ground) if wanted.kind == "ground" else 0
        whole = [1 + list(KINDS).index(wanted.kind), 0, ground, 0]
        figures = [
            _nothing() if wanted.target is None else _figure(wanted.target, placed=False),
            _nothing() if wanted.result is None else _changed(wanted),
        ]
    figures += [_nothing()] * (FIGURES - len(figures))
    return whole + [number for figure in figures for number in figure]


def _nothing() -> list[int]:
    return [0] * len(PARTS)


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


def nothing_wished(count: int) -> torch.Tensor:
    """So many wishes of an empty prompt: int64 [count, fields]."""
    return torch.zeros(count, len(FIELDS), dtype=torch.int64)


assert GLOBALS == ("kind", "design", "ground", "relation")  # as `wish_of` says them
