"""What reads prompts: what it is fed, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.image.wish_encoder import WishEncoder
from models.image.wishes import CELLS, FIGURES
from training.captions import LANGUAGES
from training.composer.scene import Mix, random_scene
from training.picture.text import random_wish, reading_loss, tokenize, unknown_words, wish_to_words
from training.picture.wishes import wish_of
from training.picture.world import World


def test_reading_begins_with_what_stands_near(encoder: WishEncoder) -> None:
    attention = encoder.encoder.block[0].layer[0].SelfAttention
    bias = attention.compute_bias(9, 9)[0]
    assert [int(bias[head, 4].argmax()) for head in range(3)] == [3, 5, 4]
    assert bias[3].abs().max() == 0


def test_the_encoder_learns_to_read_wishes(world: World, tokenizer: Any, encoder: WishEncoder) -> None:
    rng = np.random.default_rng(2)
    wishes = [random_wish(rng, world.stock) for _ in range(48)]
    wanted = torch.tensor([wish_of(wish) for wish in wishes])
    ids = tokenize(tokenizer, [wish_to_words(wish, rng) for wish in wishes])
    before = reading_loss(encoder, ids, wanted)
    torch.autograd.backward(before)
    learning = [p for n, p in encoder.named_parameters() if not n.startswith("telling")]
    assert all(p.grad is not None for p in learning)
    with torch.no_grad():
        for p in learning:
            p.sub_(0.01 * p.grad / (p.grad.norm() + 1e-8))
    assert reading_loss(encoder, ids, wanted) < before
    assert encoder(ids)[0].shape == (48, 2 + FIGURES * CELLS, encoder.config.code)


def test_a_strange_word_leaves_the_others_as_they_are(world: World) -> None:
    rng = np.random.default_rng(3)
    scene = random_scene(rng, world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0)))
    for language in LANGUAGES:
        assert all(wish_to_words(scene, rng, language).strip() for _ in range(50))
    said = [wish_to_words(scene, rng, "en", ("perpendicular",)) for _ in range(200)]
    assert 5 < sum("perpendicular" in text for text in said) < 60


def test_words_of_prompts_and_instructions_are_not_taken_for_unknown_ones(world: World) -> None:
    usual = ("remove", "background", "cat", "cats", "perpendicular")
    assert unknown_words(world.stock, usual) == ("perpendicular",)
