"""The picture model of things: what its parts are fed, and that a step of each can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from tests.training.art.packages import pictures
from training.art.shelf import Shelf, render_design
from training.captions import LANGUAGES
from training.composer.composing import Composer
from training.composer.edits import random_edit
from training.composer.scene import Mix, Scene, Stock, random_scene
from training.image_text import LENGTH, TextEncoders, learn_tokenizer, tokenize
from training.image_vae import encode
from training.loop import Check, Schedule, fit
from training.picture.autoencoder import build_autoencoder
from training.picture.bank import WORDINGS, Bank, open_bank
from training.picture.flow import build_flow_transformer, train_flow
from training.picture.judging import judge
from training.picture.recogniser import Recogniser, places, window
from training.picture.text import TextTask, classes, random_wish, targets, wish_to_words
from training.picture.world import SHARES, World, to_tensor

_THINGS = {"cat": "red", "chair": "blue", "apple": "lime", "car": "black", "doctor": "white", "rocket": "yellow"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder: Path = tmp_path_factory.mktemp("art")
    for design in SHARES:
        render_design(pictures(folder, design, _THINGS), folder)
    shelf = Shelf(SHARES, folder)
    return World(Stock.of(shelf.usual(), SHARES), Composer(shelf))


@pytest.fixture(scope="module")
def tokenizer(world: World) -> Any:
    rng = np.random.default_rng(1)
    return learn_tokenizer([wish_to_words(random_wish(rng, world.stock), rng) for _ in range(300)], 300)


def test_a_picture_leaves_as_many_latents_as_the_transformer_has_tokens(world: World) -> None:
    vae = build_autoencoder().eval()
    scene = random_scene(np.random.default_rng(1), world.stock)
    tokens = encode(vae, to_tensor(world.composer.compose(scene)[None]))
    assert tokens.shape == (1, 64, 32)
    latents = vae.encode(to_tensor(world.composer.compose(scene)[None])).latent_dist.mean
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, *latents.shape))


def test_a_pipeline_of_untrained_parts_draws_128_pixels(tokenizer: Any) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    encoders = TextEncoders(len(tokenizer))
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=build_autoencoder(), text_encoder=encoders.clip, text_encoder_2=encoders.t5,
        tokenizer=tokenizer, tokenizer_2=tokenizer, transformer=build_flow_transformer(),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline("a cat", height=128, width=128, num_inference_steps=2, max_sequence_length=LENGTH).images[0]
    assert drawn.size == (128, 128)


def test_every_wish_has_targets_and_the_encoders_learn_from_them(world: World, tokenizer: Any) -> None:
    rng = np.random.default_rng(2)
    wishes = [random_wish(rng, world.stock) for _ in range(48)]
    assert {type(wish) for wish in wishes} >= {Scene}
    wanted = targets(wishes)
    scenes = [i for i, wish in enumerate(wishes) if isinstance(wish, Scene) and wish.figures]
    named = [classes()[wishes[i].figures[0].name] for i in scenes]  # type: ignore[union-attr]
    assert wanted[scenes, 5].tolist() == named
    torch.manual_seed(0)
    task = TextTask(TextEncoders(len(tokenizer)))
    ids = tokenize(tokenizer, [wish_to_words(wish, rng) for wish in wishes])
    before = task.loss(ids, wanted)
    torch.autograd.backward(before)
    assert all(p.grad is not None for p in task.encoders.parameters() if p.requires_grad)
    with torch.no_grad():
        for p in task.parameters():
            if p.grad is not None:
                p.sub_(0.01 * p.grad / (p.grad.norm() + 1e-8))
    assert task.loss(ids, wanted) < before


def test_a_strange_word_leaves_the_others_as_they_are(world: World) -> None:
    rng = np.random.default_rng(3)
    scene = random_scene(rng, world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0)))
    for language in LANGUAGES:
        assert all(wish_to_words(scene, rng, language).strip() for _ in range(50))


def _bank(world: World, tokenizer: Any, count: int) -> Bank:
    rng = np.random.default_rng(4)
    edits = [random_edit(rng, world.stock) for _ in range(count)]
    said = [wish_to_words(edit, rng) for edit in edits for _ in range(2 * WORDINGS)]
    prompts = [
        wish_to_words(scene, rng) for edit in edits for scene in (edit.before, edit.after) for _ in range(WORDINGS)
    ]
    return Bank(
        torch.randn(2 * count, 64, 32).half(),
        torch.zeros(2 * count, 64, dtype=torch.int16),
        tokenize(tokenizer, prompts).view(2 * count, WORDINGS, LENGTH).short(),
        torch.arange(2 * count).view(count, 2),
        tokenize(tokenizer, said).view(count, 2, WORDINGS, LENGTH).short(),
    )


def test_the_transformer_learns_scenes_and_changes(
    world: World, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    torch.manual_seed(0)
    transformer = build_flow_transformer()
    seen: list[int] = []
    schedule = Schedule(steps=4, lr=1e-3, warmup=1, seed=1, bf16=False)
    train_flow(
        transformer, TextEncoders(len(tokenizer)), tokenizer, _bank(world, tokenizer, 4), schedule,
        batch=8, edits_from=0.5, check=Check(2, seen.append),
    )  # fmt: skip
    assert seen == [2, 4]
    assert transformer.proj_out.weight.abs().sum() > 0
    assert (tmp_path / "picture" / "flow" / "checkpoint.pt").exists()


def test_a_bank_without_shards_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shard of the bank"):
        open_bank(tmp_path)


def test_a_run_that_has_had_its_seconds_ends_with_a_low_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    model = torch.nn.Linear(2, 1)
    schedule = Schedule(steps=10**9, lr=1e-3, warmup=1, seconds=0.5)
    fit("short", model, lambda _step, _rng: model(torch.ones(1, 2)).square().sum(), schedule)
    kept = torch.load(tmp_path / "short" / "checkpoint.pt", weights_only=True)
    assert 0 < kept["step"] < 10**9
    assert schedule.share(10, 0.1) > schedule.share(10, 0.4) > schedule.share(10, 0.5) == pytest.approx(0, abs=1e-6)


def test_a_look_sees_the_averaged_weights_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    model = torch.nn.Linear(1, 1, bias=False)
    looks: list[float] = []
    trained: list[float] = []

    def loss_of(_step: int, _rng: np.random.Generator) -> torch.Tensor:
        trained.append(model.weight.item())
        loss: torch.Tensor = model(torch.ones(1, 1)).sum()
        return loss

    fit("average", model, loss_of, Schedule(steps=30, lr=0.1, warmup=1, bf16=False),
        Check(10, lambda _step: looks.append(model.weight.item())))  # fmt: skip
    # The weight falls at every step, and its average lags behind it.
    assert looks[1] > trained[20]
    assert trained[21] < trained[20] < trained[19]


def test_the_recogniser_looks_where_the_figure_is_and_judges_by_rank(world: World) -> None:
    scenes = [
        random_scene(np.random.default_rng((5, i)), world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0))) for i in range(6)
    ]
    pictures_of = [world.composer.compose(scene) for scene in scenes]
    for scene, pixels in zip(scenes, pictures_of, strict=True):
        (figure,) = scene.figures
        assert window(pixels, figure).shape == (64, 64, 3)
    model = Recogniser()
    right = classes()[scenes[0].figures[0].name]
    with torch.no_grad():
        model.things.weight.zero_()
        model.things.bias.zero_()
        model.things.bias[right] = 1
    assert places(model, pictures_of[:1], [scenes[0].figures[0]]) == [0]
    verdict = judge(model, pictures_of, scenes)
    same = sum(scene.figures[0].name == scenes[0].figures[0].name for scene in scenes)
    assert verdict.first == pytest.approx(same / len(scenes))
