"""How well the built-in BLIP says what is there: its captions are read back and held against the scenes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from training.blip import FOLDER
from training.evaluate import Row, fresh_scenes
from training.world import COLOURS, PLACES, SHAPES, Scene, Thing, render

_SCENES: Final = 500
_BATCH: Final = 100
_COLOUR = f"(?P<colour>{'|'.join(COLOURS)})"
_THING = re.compile(
    rf"(?P<size>big|small) {_COLOUR} (?P<shape>{'|'.join(SHAPES)}) (?:on|at|in) the (?P<place>{'|'.join(PLACES)})"
)
_BACKGROUND = re.compile(rf"{_COLOUR} background")
_PREFIX: Final = "a photo of"


@dataclass(frozen=True)
class Named:
    """One thing of a caption."""

    shape: str
    colour: str
    size: str
    place: str

    def agreement(self, thing: Thing) -> int:
        """How many of the four words are right."""
        said = (self.shape, self.colour, self.size, self.place)
        return sum(a == b for a, b in zip(said, (thing.shape, thing.colour, thing.size, thing.place), strict=True))


_NOTHING: Final = Named("", "", "", "")


def things_named(caption: str) -> list[Named]:
    """The things that a caption in the canonical form names."""
    return [Named(m["shape"], m["colour"], m["size"], m["place"]) for m in _THING.finditer(caption)]


def paired(scene: Scene, caption: str) -> list[tuple[Thing, Named]]:
    """Each thing of the scene with what the caption says of it; `_NOTHING` where it says nothing."""
    named = things_named(caption)
    named += [_NOTHING] * (len(scene.things) - len(named))
    orders = permutations(named, len(scene.things))
    best = max(orders, key=lambda order: sum(n.agreement(t) for n, t in zip(order, scene.things, strict=True)))
    return list(zip(scene.things, best, strict=True))


class Captioner:
    """The saved model, read as any BLIP folder is."""

    def __init__(self) -> None:
        self._model: Any = BlipForConditionalGeneration.from_pretrained(FOLDER, dtype=torch.float32).eval()
        self._processor: Any = BlipProcessor.from_pretrained(FOLDER)

    def captions(self, pictures: list[Image.Image], prefix: str | None = None) -> list[str]:
        """Greedy captions; each begins with the prefix if there is one."""
        written: list[str] = []
        for i in range(0, len(pictures), _BATCH):
            batch = pictures[i : i + _BATCH]
            text = {} if prefix is None else {"text": [prefix] * len(batch)}
            inputs = self._processor(images=batch, return_tensors="pt", **text)
            tokens = self._model.generate(**inputs, max_new_tokens=60)
            written += self._processor.batch_decode(tokens, skip_special_tokens=True)
        return written


def evaluate() -> list[Row]:
    """Share of things whose colour, shape, size and place are named right, and of wholly right captions."""
    scenes = fresh_scenes(_SCENES)
    pictures = [render(scene) for scene in scenes]
    captioner = Captioner()
    captions = captioner.captions(pictures)
    pairs = [pair for scene, caption in zip(scenes, captions, strict=True) for pair in paired(scene, caption)]
    rows = []
    for word, bar in (("colour", 0.97), ("shape", 0.92), ("size", 0.9), ("place", 0.9)):
        right = sum(getattr(thing, word) == getattr(named, word) for thing, named in pairs)
        rows.append(Row("blip", f"{word} named right", right / len(pairs), bar, len(pairs)))
    grounds = [_BACKGROUND.search(caption) for caption in captions]
    right = sum(g is not None and g["colour"] == s.background for g, s in zip(grounds, scenes, strict=True))
    rows.append(Row("blip", "background named right", right / _SCENES, 0.97, _SCENES))
    right = sum(len(things_named(c)) == len(s.things) for c, s in zip(captions, scenes, strict=True))
    rows.append(Row("blip", "as many things as there are", right / _SCENES, None, _SCENES))
    rows.append(Row("blip", "caption wholly right", _wholly_right(scenes, captions), None, _SCENES))
    continued = captioner.captions(pictures, _PREFIX)
    begun = sum(caption.startswith(_PREFIX) for caption in continued) / _SCENES
    rows.append(Row("blip", f'"{_PREFIX}" is continued', begun, 1.0, _SCENES))
    rows.append(Row("blip", f'caption after "{_PREFIX}" wholly right', _wholly_right(scenes, continued), None, _SCENES))
    return rows


def _wholly_right(scenes: list[Scene], captions: list[str]) -> float:
    right = 0
    for scene, caption in zip(scenes, captions, strict=True):
        ground = _BACKGROUND.search(caption)
        right += (
            len(things_named(caption)) == len(scene.things)
            and all(named.agreement(thing) == 4 for thing, named in paired(scene, caption))
            and ground is not None
            and ground["colour"] == scene.background
        )
    return right / len(scenes)
