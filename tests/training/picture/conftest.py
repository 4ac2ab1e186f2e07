"""A world of six things in two designs, and what reads its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.image.wish_encoder import WishEncoder
from tests.training.art.packages import pictures
from training.art.shelf import Shelf, render_design
from training.composer.composing import Composer
from training.composer.scene import Stock
from training.picture.text import build_encoder, learn_tokenizer, random_wish, wish_to_words
from training.picture.wishes import drawing_table, wish_config
from training.picture.world import SHARES, World

THINGS = {"cat": "red", "chair": "blue", "apple": "lime", "car": "black", "doctor": "white", "rocket": "yellow"}


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("art")
    for design in SHARES:
        render_design(pictures(folder, design, THINGS), folder)
    shelf = Shelf(SHARES, folder)
    return World(Stock.of(shelf.usual(), SHARES), Composer(shelf))


@pytest.fixture(scope="package")
def tokenizer(world: World) -> Any:
    rng = np.random.default_rng(1)
    return learn_tokenizer([wish_to_words(random_wish(rng, world.stock), rng) for _ in range(300)], 300)


@pytest.fixture
def encoder(world: World, tokenizer: Any) -> WishEncoder:
    """One that has learnt nothing but which drawing is whose."""
    torch.manual_seed(0)
    built = build_encoder(wish_config(len(tokenizer)))
    built.telling.drawing_of.copy_(drawing_table(world.stock.drawings)[0])
    built.eval()
    return built
