"""Drawings that are circles, words that are bars and a WordNet of fifty nouns, in the place of what is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import training.describer.folder
import training.describer.labels
import training.describer.naming
import training.describer.photographs
import training.describer.pool
import training.describer.student
import training.loop
from tests.training.art.packages import pictures
from tests.training.describer.scenes import DESIGN, THINGS, WORDS
from training.art.lettering import HEIGHT, WIDTH, open_lettering
from training.art.shelf import Shelf, render_design
from training.art.subjects import subjects
from training.captions import LANGUAGES
from training.describer.pool import Pool, make_pool, scene_of
from training.describer.questions import ask
from training.vlm_tokenizer import train_tokenizer
from training.wordnet import WordNet, imagenet

_UNSEEN = "strange"
_NOUNS = 50
_CACHES: tuple[Any, ...] = (
    training.describer.pool.world,
    training.describer.naming.words,
    training.describer.labels.alphabet,
    training.describer.naming._shelf,
    training.describer.naming.colour_of,
)


@pytest.fixture(scope="package", autouse=True)
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all that is downloaded, drawn or learnt."""
    folder = tmp_path_factory.mktemp("describer")
    for design in (DESIGN, _UNSEEN):
        render_design(pictures(folder, design, THINGS), folder)
    _write_lettering(folder)
    _write_wordnet(folder)
    (folder / "describer").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.loop, "RUNS", folder)
        for room in (training.describer.pool, training.describer.naming):
            patch.setattr(room, "Shelf", lambda designs, **views: Shelf(designs, folder, **views))
            patch.setattr(room, "open_lettering", lambda: open_lettering(folder))
        patch.setattr(training.describer.pool, "designs_for", lambda *uses: (_UNSEEN if "judge" in uses else DESIGN,))
        patch.setattr(training.describer.photographs, "WordNet", lambda: WordNet(folder))
        for room in (training.describer.photographs, training.describer.student, training.describer.folder):
            patch.setattr(room, "FOLDER", folder / "describer")
        _forget()
        yield folder
    _forget()


def _forget() -> None:
    for cache in _CACHES:
        cache.cache_clear()


def _write_lettering(folder: Path) -> None:
    masks = np.zeros((2 * len(WORDS), HEIGHT, WIDTH), np.uint8)
    for number in range(len(masks)):
        masks[number, 8:24, 20 : 40 + 5 * number] = 255
    np.savez(
        folder / "lettering.npz", words=np.array(2 * WORDS), scripts=np.array(["latin"] * len(masks)),
        judge=np.arange(len(masks)) >= len(WORDS), masks=masks,
    )  # fmt: skip


def _write_wordnet(folder: Path) -> None:
    """Each of the first things is one of ImageNet's first classes."""
    synsets = {number: synset for synset, number in imagenet().items()}
    index, nouns = ["  1 a licence, which begins with blanks"], ["  1 a licence, which begins with blanks"]
    for number, name in enumerate(list(subjects())[:_NOUNS]):
        noun = name.replace(" ", "_")
        index.append(f"{noun} n 1 1 @ 1 1 {synsets[number]}")
        nouns.append(f"{synsets[number]} 05 n 01 {noun} 0 000 | made up")
    (folder / "index.noun").write_text("\n".join(index))
    (folder / "data.noun").write_text("\n".join(nouns))


@pytest.fixture(scope="package")
def wordnet(drawings: Path) -> WordNet:
    """The one that training reads here."""
    return WordNet(drawings)


@pytest.fixture(scope="package")
def tokenizer(drawings: Path) -> Any:
    """A tokenizer that has learnt from a few questions."""
    rng = np.random.default_rng(3)
    asked = [ask(scene_of(i, unseen=False), rng, LANGUAGES[i % 3]) for i in range(1500)]
    return train_tokenizer([text for said in asked if said for text in (said.question, said.answer)], 1200)


@pytest.fixture(scope="package")
def pool(drawings: Path) -> Pool:
    """Scenes, composed."""
    return make_pool(24)
