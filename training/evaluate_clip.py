"""How well the built-in CLIP finds scenes: by what is said of them in three languages, and by another picture."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any, Final

import numpy as np
import open_clip
import torch
from PIL import Image

from training.captions import LANGUAGES, full_caption
from training.clip import FOLDER
from training.evaluate import Row, fresh_scenes
from training.gallery import attributes
from training.queries import query
from training.world import Scene, paint, render

_BARS: Final = {"en": 0.95, "ko": 0.92, "ja": 0.92}
_NAMES: Final = {"en": "English", "ko": "Korean", "ja": "Japanese"}
_BATCH: Final = 100


def distinct_scenes(number: int) -> list[Scene]:
    """Scenes that training never saw, no two with the same description."""
    found: dict[tuple[object, ...], Scene] = {}
    for stretch in count():
        for scene in fresh_scenes(2 * number, offset=2 * number * stretch):
            found.setdefault(scene.description(), scene)
        if len(found) >= number:
            return list(found.values())[:number]
    raise AssertionError


def drawn_again(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another picture of the same content: other tints, a little elsewhere, turned and sized a little differently."""
    things = tuple(
        replace(
            thing,
            rgb=paint(thing.colour, rng),
            centre=(thing.centre[0] + float(rng.uniform(-1, 1)), thing.centre[1] + float(rng.uniform(-1, 1))),
            radius=thing.radius * float(rng.uniform(0.96, 1.04)),
            angle=float(rng.uniform(-7, 7)),
        )
        for thing in scene.things
    )
    return replace(scene, background_rgb=paint(scene.background, rng), things=things)


class Clip:
    """The saved model, read as any open_clip folder is."""

    def __init__(self, folder: str = f"local-dir:{FOLDER}") -> None:
        model: Any
        model, _, self._preprocess = open_clip.create_model_and_transforms(folder)
        self._model = model.eval()
        self._tokenize: Any = open_clip.get_tokenizer(folder)

    @torch.inference_mode()
    def images(self, pictures: list[Image.Image]) -> np.ndarray:
        """Unit vectors, float32 [pictures, 256]."""
        batches = [pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH)]
        found = [
            self._model.encode_image(torch.stack([self._preprocess(p) for p in batch]), normalize=True)
            for batch in batches
        ]
        return np.asarray(torch.cat(found))

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> np.ndarray:
        """Unit vectors, float32 [texts, 256]."""
        batches = [texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH)]
        return np.asarray(torch.cat([self._model.encode_text(self._tokenize(b), normalize=True) for b in batches]))


def recall_at_1(queries: np.ndarray, gallery: np.ndarray) -> float:
    """How often query i is nearest to gallery i; both unit vectors [count, width]."""
    return float(np.mean((queries @ gallery.T).argmax(1) == np.arange(len(queries))))


def evaluate() -> list[Row]:
    """Recall at 1 among 100 scenes and, harder, 200; how well a few words search; and another picture as the query."""
    scenes = distinct_scenes(200)
    rng = np.random.default_rng(5)
    clip = Clip()
    pictures = clip.images([render(scene) for scene in scenes])
    classes = torch.stack([attributes(scene) for scene in scenes])
    rows = []
    for language in LANGUAGES:
        texts = clip.texts([full_caption(scene, rng, language) for scene in scenes])
        asked = [query(scene, rng, language) for scene in scenes]
        first = (clip.texts([words for words, _ in asked]) @ pictures.T).argmax(1)
        answered = np.mean([claim.true_of(classes[[i]]).item() for (_, claim), i in zip(asked, first, strict=True)])
        rows.append(Row("clip", f"{_NAMES[language]} query's first image answers it", float(answered), 0.8, 200))
        for number, bar in ((100, None), (200, _BARS[language])):
            reached = recall_at_1(texts[:number], pictures[:number])
            rows.append(Row("clip", f"{_NAMES[language]} text finds its image among {number}", reached, bar, number))
    again = clip.images([render(drawn_again(scene, rng)) for scene in scenes])
    rows.append(
        Row("clip", "image finds another of the same content among 200", recall_at_1(again, pictures), 0.95, 200)
    )
    return rows
