"""The picture model of things: what its parts are fed, and that a step of each can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxPipeline
from safetensors.torch import load_file, save_file

from models.image.painter import CELLS, FIELDS, FIGURES, GLOBALS, PARTS, WishEncoder
from tests.training.art.packages import pictures
from training.art.shelf import Shelf, render_design
from training.captions import LANGUAGES
from training.composer.composing import Composer
from training.composer.edits import KINDS, random_edit, undone
from training.composer.scene import GROUNDS, Mix, Stock, random_scene
from training.composer.words import PLAIN_STYLE
from training.eight_bits import packed
from training.image_text import LENGTH, learn_tokenizer, tokenize
from training.image_vae import encode
from training.loop import Check, Schedule, fit
from training.picture.__main__ import silent_encoder
from training.picture.autoencoder import build_autoencoder
from training.picture.bank import Bank, change_of, open_bank
from training.picture.flow import begin_with_drawings, build_flow_transformer, drawing_alone, train_flow
from training.picture.judging import judge
from training.picture.recogniser import Recogniser, discriminant, places, window
from training.picture.text import build_encoder, random_wish, reading_loss, unknown_words, wish_to_words
from training.picture.wishes import classes, drawing_table, wish_config, wish_of
from training.picture.world import SHARES, World, to_tensor
from training.world import COLOURS, PLACES

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


def _encoder(world: World, tokenizer: Any) -> WishEncoder:
    torch.manual_seed(0)
    encoder = build_encoder(wish_config(len(tokenizer)))
    encoder.telling.drawing_of.copy_(drawing_table(world.stock.drawings)[0])
    encoder.eval()
    return encoder


def test_a_pipeline_of_untrained_parts_draws_128_pixels_and_is_the_same_when_it_is_loaded(
    world: World, tokenizer: Any, tmp_path: Path
) -> None:
    encoder = _encoder(world, tokenizer)
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=build_autoencoder(), text_encoder=silent_encoder(len(tokenizer)), text_encoder_2=encoder,
        tokenizer=tokenizer, tokenizer_2=tokenizer, transformer=build_flow_transformer(encoder.config),
    )  # fmt: skip
    with torch.no_grad():
        pipeline.transformer.proj_out.weight.normal_(std=0.1)
    pipeline.save_pretrained(tmp_path)
    pictures = []
    for each in (pipeline, FluxPipeline.from_pretrained(tmp_path)):
        each.set_progress_bar_config(disable=True)
        settings = {"height": 128, "width": 128, "num_inference_steps": 2, "max_sequence_length": LENGTH}
        drawn = each("a cat", generator=torch.Generator().manual_seed(1), **settings).images[0]
        assert drawn.size == (128, 128)
        pictures.append(np.asarray(drawn))
    assert np.array_equal(pictures[0], pictures[1])
    for weights in tmp_path.glob("*/*.safetensors"):
        save_file(packed(load_file(weights)), weights, metadata={"format": "pt"})
    halved: Any = FluxPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert {part.dtype for part in (halved.transformer, halved.vae, halved.text_encoder_2)} == {torch.bfloat16}
    halved("a cat", **settings)
    small: Any = FluxKontextPipeline.from_pretrained(tmp_path)
    for name in ("transformer", "vae", "text_encoder_2"):
        whole, kept = getattr(pipeline, name).state_dict(), getattr(small, name).state_dict()
        assert whole.keys() == kept.keys()
        for key, weight in whole.items():
            largest = weight.abs().max().item()
            assert torch.allclose(weight, kept[key], atol=largest / 200), key


def test_a_wish_says_what_is_where_on_which_ground_and_what_changes(world: World) -> None:
    rng = np.random.default_rng(2)
    stock = world.stock
    scene = random_scene(rng, stock, Mix(figures=(0.0, 0.0, 1.0, 0.0), same=0.0, painted=1.0))
    said = dict(zip(FIELDS, wish_of(scene), strict=True))
    assert said["kind"] == 0
    assert GROUNDS[said["ground"] - 1] == scene.ground
    assert [said["what 0"], said["what 1"], said["what 2"]] == [*(classes()[f.name] for f in scene.figures), 0]
    assert PLACES[said["place 0"] - 1] == scene.figures[0].place
    assert list(SHARES)[said["design"] - 1] == scene.design
    sized = [random_scene(rng, stock, Mix(figures=(0.0, 1.0, 0.0, 0.0))) for _ in range(40)]
    sizes = {None: 0, "big": 1, "small": 2}
    assert all(dict(zip(FIELDS, wish_of(s), strict=True))["size 0"] == sizes[s.figures[0].size] for s in sized)
    shaped = next(s for s in sized if s.figures[0].is_shape)
    said = dict(zip(FIELDS, wish_of(shaped), strict=True))
    assert said["design"] == 0
    assert COLOURS[said["colour 0"] - 1] == shaped.figures[0].colour
    for kind in KINDS:
        edit = random_edit(rng, stock, kind)
        said = dict(zip(FIELDS, wish_of(edit), strict=True))
        assert said["kind"] == 1 + list(KINDS).index(kind)
        assert said["what 0"] == (classes()[edit.target.name] if edit.target else 0)
        assert said["what 1"] == (classes()[edit.result.name] if edit.result else 0)
        assert (said["ground"] > 0) == (kind == "ground")
        assert (said["place 1"] > 0) == (kind == "add")
        if kind in ("add", "resize"):
            assert edit.result is not None
            assert said["size 1"] == sizes[edit.result.size]
        values = wish_config(1).values
        assert all(0 <= value < values[field] for field, value in said.items())


def test_the_encoder_learns_to_read_wishes_and_tells_the_same_of_the_same_wish(world: World, tokenizer: Any) -> None:
    rng = np.random.default_rng(2)
    wishes = [random_wish(rng, world.stock) for _ in range(48)]
    wanted = torch.tensor([wish_of(wish) for wish in wishes])
    encoder = _encoder(world, tokenizer)
    ids = tokenize(tokenizer, [wish_to_words(wish, rng) for wish in wishes])
    before = reading_loss(encoder, ids, wanted)
    torch.autograd.backward(before)
    learning = [p for n, p in encoder.named_parameters() if not n.startswith("telling")]
    assert all(p.grad is not None for p in learning)
    with torch.no_grad():
        for p in learning:
            p.sub_(0.01 * p.grad / (p.grad.norm() + 1e-8))
    assert reading_loss(encoder, ids, wanted) < before
    assert encoder(ids)[0].shape == (48, len(GLOBALS) + FIGURES * CELLS, encoder.config.said)


def test_what_is_told_of_a_thing_follows_its_design_and_of_a_shape_its_colour(world: World, tokenizer: Any) -> None:
    encoder = _encoder(world, tokenizer)

    def told(**fields: int) -> torch.Tensor:
        wish = [fields.get(name.replace(" ", "_"), 0) for name in FIELDS]
        tokens: torch.Tensor = encoder.telling(torch.tensor([wish]))[0]
        return tokens[len(GLOBALS) : len(GLOBALS) + CELLS].detach()

    cat, circle = classes()["cat"], classes()["circle"]
    assert not torch.equal(told(what_0=cat, design=1), told(what_0=cat, design=2))
    assert torch.equal(told(what_0=cat, colour_0=1), told(what_0=cat, colour_0=2))
    assert torch.equal(told(what_0=circle, colour_0=1, design=1), told(what_0=circle, colour_0=1, design=2))
    assert not torch.equal(told(what_0=circle, colour_0=1), told(what_0=circle, colour_0=2))
    assert not torch.equal(told(what_0=cat, place_0=1), told(what_0=cat, place_0=2))


def test_a_thing_is_drawn_in_the_design_that_is_asked_for_and_a_shape_in_its_colour(world: World) -> None:
    table, shown = drawing_table(world.stock.drawings)
    for name in _THINGS:
        for number, design in enumerate(SHARES, 1):
            assert shown[int(table[classes()[name], number])] == (name, design)
        assert shown[int(table[classes()[name], 0])] == (name, next(iter(SHARES)))
    for number, colour in enumerate(COLOURS, 1):
        assert shown[int(table[classes()["circle"], number])] == ("circle", colour)
    lacking = drawing_table(dict(world.stock.drawings) | {"fluent-3d": ()})[0]
    assert lacking[classes()["cat"], list(SHARES).index("fluent-3d") + 1] == lacking[classes()["cat"], 0]
    assert int(table[0].max()) == 0


def test_the_vectors_of_drawings_begin_as_far_apart_as_their_latents(world: World, tokenizer: Any) -> None:
    encoder = _encoder(world, tokenizer)
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    begin_with_drawings(encoder.telling, vae, world, encoder.config.code)
    _, shown = drawing_table(world.stock.drawings)
    pictures = [world.composer.compose(drawing_alone(name, way, world.stock)) for name, way in shown.values()]
    with torch.no_grad():
        latents = encode(vae, to_tensor(np.stack(pictures))).flatten(1)
    begun = encoder.telling.drawings.weight.detach()[list(shown)]
    assert float(begun.std()) == pytest.approx(1, abs=0.05)
    apart = [torch.cdist(each, each).flatten() for each in (latents, begun)]
    assert float(torch.corrcoef(torch.stack(apart))[0, 1]) > 0.95
    assert float(encoder.telling.drawings.weight[0].detach().abs().max()) == 0


def test_a_strange_word_leaves_the_others_as_they_are(world: World) -> None:
    rng = np.random.default_rng(3)
    scene = random_scene(rng, world.stock, Mix(figures=(0.0, 1.0, 0.0, 0.0)))
    for language in LANGUAGES:
        assert all(wish_to_words(scene, rng, language).strip() for _ in range(50))
    said = [wish_to_words(scene, rng, "en", ("perpendicular",)) for _ in range(200)]
    assert 5 < sum("perpendicular" in text for text in said) < 60


def _bank(world: World, count: int) -> Bank:
    rng = np.random.default_rng(4)
    edits = [change_of(rng, world.stock) for _ in range(count)]
    scenes = [random_scene(rng, world.stock) for _ in range(count)]
    asked = [wish_of(way) for edit in edits for way in (edit, undone(edit))]
    shown = [*scenes, *(scene for edit in edits for scene in (edit.before, edit.after))]
    return Bank(
        torch.randn(3 * count, 64, 32).half(),
        torch.zeros(3 * count, 64, dtype=torch.int16),
        torch.tensor([wish_of(scene) for scene in shown]).short(),
        torch.arange(count),
        torch.arange(count, 3 * count).view(count, 2),
        torch.tensor(asked).view(count, 2, -1).short(),
    )


def test_what_a_change_brings_in_is_plain_and_as_it_is_and_the_rest_stays_as_it_was(world: World) -> None:
    rng = np.random.default_rng(8)
    for _ in range(60):
        edit = change_of(rng, world.stock)
        if edit.kind in ("add", "remove", "replace"):
            assert edit.before.design == edit.after.design == PLAIN_STYLE
            same = set(edit.before.figures) & set(edit.after.figures)
            brought = (set(edit.before.figures) | set(edit.after.figures)) - same
            assert brought
            assert not any(figure.mirrored for figure in brought)


def test_the_transformer_learns_scenes_and_changes_and_so_do_the_drawings(
    world: World, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    encoder = _encoder(world, tokenizer)
    transformer = build_flow_transformer(encoder.config)
    before, bank = encoder.telling.drawings.weight.detach().clone(), _bank(world, 4)
    seen: list[int] = []
    schedule = Schedule(steps=4, lr=1e-3, warmup=1, seed=1, bf16=False)
    train_flow(transformer, encoder.telling, bank, schedule, batch=8, edits_from=0.5, check=Check(2, seen.append))
    assert seen == [2, 4]
    assert transformer.proj_out.weight.abs().sum() > 0
    moved = (encoder.telling.drawings.weight.detach() - before).abs().amax(1)
    figures = bank.wishes[:, len(GLOBALS) :].reshape(-1, FIGURES, len(PARTS)).long()
    kinds = torch.where(figures[..., 0] <= encoder.config.shapes, figures[..., 1], bank.wishes[:, 1:2].long())
    asked_for = set(encoder.telling.drawing_of[figures[..., 0], kinds].flatten().tolist())
    never = [row for row in range(1, len(moved)) if row not in asked_for][-50:]
    assert float(moved[list(asked_for)].max()) > 5 * float(moved[never].max())
    assert (tmp_path / "picture" / "flow" / "checkpoint.pt").exists()


def test_the_discriminant_tells_classes_apart_by_what_differs_most_beside_their_scatter() -> None:
    torch.manual_seed(0)
    right = torch.arange(3).repeat(200)
    seen = torch.randn(600, 6)
    seen[:, 0] *= 50  # noise that hides whatever is measured along with it
    seen[:, 1] += 5 * right
    weights, biases = discriminant(seen, right, 4)
    named = (seen @ weights.T + biases).argmax(1)
    assert float((named == right).float().mean()) > 0.95
    assert not (named == 3).any(), "a class that was never seen"


def test_words_of_prompts_and_instructions_are_not_taken_for_unknown_ones(world: World) -> None:
    usual = ("remove", "background", "cat", "cats", "perpendicular")
    assert unknown_words(world.stock, usual) == ("perpendicular",)


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
        assert abs(window(pixels, figure).width - min(128, 1.25 * figure.side)) <= 1
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
