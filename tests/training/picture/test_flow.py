"""The picture model: what its parts are fed, and that a step of each can learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxKontextInpaintPipeline,
    FluxKontextPipeline,
    FluxPipeline,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional

from models.image.autoencoder import LayeredAutoencoder, PackedAutoencoder
from models.image.draft import CHANNELS
from models.image.wish_encoder import WishEncoder
from models.image.wishes import CELLS, DRAWING, FIELDS, FIGURES, Conditioning
from models.packed import unpacked
from training.composer.edits import undone
from training.composer.scene import Mix, random_scene
from training.eight_bits import packed
from training.loop import Check, Schedule
from training.picture.__main__ import silent_encoder
from training.picture.autoencoder import build_autoencoder, encode, grow_decoder, train_last_stages
from training.picture.bank import GRID, Bank, change_of, open_bank
from training.picture.flow import (
    build_flow_transformer,
    learn_drawings,
    learn_layout,
    train_flow,
)
from training.picture.text import LENGTH
from training.picture.wishes import classes, drawing_table, where_of, wish_of
from training.picture.world import World, drawing_alone, to_tensor
from training.world import PLACES


def test_a_picture_leaves_as_many_latents_as_the_transformer_has_tokens(world: World) -> None:
    vae = build_autoencoder().eval()
    scene = random_scene(np.random.default_rng(1), world.stock)
    tokens = encode(vae, to_tensor(world.composer.compose(scene)[None]))
    assert tokens.shape == (1, 64, 32)
    latents = vae.encode(to_tensor(world.composer.compose(scene)[None])).latent_dist.mean
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, *latents.shape))


def test_a_decoder_that_is_made_wider_decodes_as_before_and_is_so_when_it_is_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    latents = torch.randn(1, CHANNELS, 8, 8)
    with torch.no_grad():
        before = vae.decode(latents).sample
        grow_decoder(vae, 1.5)
        assert torch.allclose(vae.decode(latents).sample, before, atol=1e-4)
        for weight in vae.decoder.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
        learnt = vae.decode(latents).sample
    assert not torch.allclose(learnt, before, atol=1e-3)
    vae.save_pretrained(tmp_path)
    loaded = PackedAutoencoder.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded.decode(latents).sample, learnt)


def test_of_a_decoder_whose_last_stages_go_on_all_else_stays_to_the_byte_in_its_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    torch.manual_seed(0)
    kept = packed(build_autoencoder().state_dict(), 63)
    vae = build_autoencoder()
    vae.load_state_dict(unpacked(kept))
    train_last_stages(vae, world, Schedule(steps=2, lr=1e-3, warmup=1, weight_decay=0.0, seed=1), batch=6)
    learnt = packed(vae.state_dict(), 63)
    changed = {name.removesuffix(".scale") for name in kept if not torch.equal(learnt[name], kept[name])}
    assert {"decoder.conv_out.weight", "decoder.up_blocks.2.resnets.0.conv1.weight"} <= changed
    assert not [name for name in changed if name.startswith(("encoder.", "quant"))]
    assert not [n for n in changed if kept[n].ndim > 1 and n.startswith(("decoder.mid_block", "decoder.up_blocks.0"))]
    assert sum(learnt[name].numel() for name in changed) < sum(weight.numel() for weight in kept.values()) / 5


def _draws_in_every_way(folder: Path) -> None:
    """Of several pictures at once, of another shape than the references, with guidance, in half precision."""
    settings = {"height": 96, "width": 160, "num_inference_steps": 2, "max_sequence_length": LENGTH}
    guided = {"true_cfg_scale": 2.0, "prompt": ["a cat", "remove the cat"], "negative_prompt": ["", ""]}
    image, mask = (Image.new("RGB", size, "teal") for size in ((160, 96), (160, 96)))
    for kind, given in (
        (FluxPipeline, {}),
        (FluxImg2ImgPipeline, {"image": image, "strength": 1.0}),
        (FluxInpaintPipeline, {"image": image, "mask_image": mask, "strength": 1.0}),
        (FluxKontextPipeline, {"image": [Image.new("RGB", (128, 128))] * 2, "max_area": 128**2, "_auto_resize": False}),
        (FluxKontextInpaintPipeline, {"image": image, "mask_image": mask, "strength": 1.0, "max_area": 96 * 160,
                                      "_auto_resize": False}),
    ):  # fmt: skip
        pipeline: Any = kind.from_pretrained(folder, dtype=torch.bfloat16)
        pipeline.set_progress_bar_config(disable=True)
        drawn = pipeline(**settings | guided | given).images
        assert [picture.size for picture in drawn] == [(160, 96)] * 2, kind.__name__


def test_a_pipeline_of_untrained_parts_draws_128_pixels_and_is_the_same_when_it_is_loaded(
    tokenizer: Any, encoder: WishEncoder, tmp_path: Path
) -> None:
    vae = build_autoencoder()
    pipeline: Any = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
        vae=LayeredAutoencoder.of(vae), text_encoder=silent_encoder(len(tokenizer)), text_encoder_2=encoder,
        tokenizer=tokenizer, tokenizer_2=tokenizer, transformer=build_flow_transformer(encoder.config).see_through(vae),
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
    _draws_in_every_way(tmp_path)
    small: Any = FluxKontextPipeline.from_pretrained(tmp_path)
    for name in ("transformer", "vae", "text_encoder_2"):
        whole, kept = getattr(pipeline, name).state_dict(), getattr(small, name).state_dict()
        assert whole.keys() == kept.keys()
        for key, weight in whole.items():
            largest = weight.abs().max().item()
            assert torch.allclose(weight, kept[key], atol=largest / 200), key


def test_what_is_told_of_a_thing_follows_its_design_and_of_a_shape_its_colour(encoder: WishEncoder) -> None:
    def looks(**fields: int) -> torch.Tensor:
        wish = [fields.get(name.replace(" ", "_"), 0) for name in FIELDS]
        return encoder.telling.told(torch.tensor([wish])).codes[0, 0].detach()

    cat, circle = classes()["cat"], classes()["circle"]
    assert not torch.equal(looks(what_0=cat, design=1), looks(what_0=cat, design=2))
    assert torch.equal(looks(what_0=cat, colour_0=1), looks(what_0=cat, colour_0=2))
    assert torch.equal(looks(what_0=circle, colour_0=1, design=1), looks(what_0=circle, colour_0=1, design=2))
    assert not torch.equal(looks(what_0=circle, colour_0=1), looks(what_0=circle, colour_0=2))


def test_what_is_told_of_a_drawing_gives_back_its_latents_and_what_it_covers(
    world: World, encoder: WishEncoder
) -> None:
    torch.manual_seed(0)
    vae = build_autoencoder().eval()
    transformer = build_flow_transformer(encoder.config)
    learn_drawings(encoder.telling, transformer, vae, world)
    _, shown = drawing_table(world.stock.drawings)
    scenes = [drawing_alone(name, way, world.stock) for name, way in shown.values()]
    tokens = encode(vae, to_tensor(np.stack([world.composer.compose(scene) for scene in scenes])))
    latents = functional.pixel_shuffle(tokens.transpose(1, 2).reshape(-1, 4 * CHANNELS, GRID, GRID), 2)
    codes = encoder.telling.drawings.weight[list(shown)].view(-1, 1, CELLS, encoder.config.code)
    told = Conditioning(
        torch.zeros(len(shown), len(FIELDS), dtype=torch.int64),
        functional.pad(codes, (0, 0, 0, 0, 0, FIGURES - 1)),
        torch.zeros(len(shown), FIGURES, 3),
    )
    given = transformer.draft.drawings(told)[:, 0].detach()
    assert float((given[:, :CHANNELS] - latents).square().mean() / latents.var()) < 0.05
    covered = np.stack([world.composer.covers(scene, 2 * GRID)[0] for scene in scenes])
    assert float(np.abs(given[:, CHANNELS].numpy() - covered).mean()) < 0.05
    assert float(encoder.telling.drawings.weight[0].detach().abs().max()) == 0
    grounds = transformer.draft.grounds.weight.detach()
    assert float(grounds[0].abs().max()) == 0
    assert torch.pdist(grounds).min() > 0


def test_places_are_learnt_from_where_things_are_in_pictures(world: World, encoder: WishEncoder) -> None:
    rng = np.random.default_rng(6)
    scenes = [random_scene(rng, world.stock, Mix(figures=(0.0, 0.6, 0.3, 0.1))) for _ in range(2000)]
    fields = encoder.telling.fields(torch.tensor([wish_of(scene) for scene in scenes]))
    where = torch.tensor([where_of(scene) for scene in scenes])
    assert learn_layout(encoder.telling.layout, fields, where, steps=300) < 0.03
    named = {name: number for number, name in enumerate(FIELDS)}
    alone = torch.zeros(3, len(FIELDS), dtype=torch.int64)
    alone[:, named["what 0"]], alone[:, named["design"]], alone[:, named["ground"]] = DRAWING, 1, 1
    alone[:, named["place 0"]] = 1 + PLACES.index("centre")
    alone[:, named["size 0"]] = torch.tensor([1, 0, 2])
    with torch.no_grad():
        big, usual, small = encoder.telling.layout(alone)[:, 0, 2].tolist()
    assert big > usual > small


def _bank(world: World, count: int) -> Bank:
    rng = np.random.default_rng(4)
    edits = [change_of(rng, world.stock) for _ in range(count)]
    scenes = [random_scene(rng, world.stock) for _ in range(count)]
    ways = [way for edit in edits for way in (edit, undone(edit))]
    shown = [*scenes, *(scene for edit in edits for scene in (edit.before, edit.after))]
    return Bank(
        torch.randn(3 * count, 64, 32).half(),
        torch.tensor([wish_of(scene) for scene in shown]).short(),
        torch.tensor([where_of(scene) for scene in shown]),
        torch.arange(count),
        torch.arange(count, 3 * count).view(count, 2),
        torch.tensor([wish_of(way) for way in ways]).view(count, 2, -1).short(),
        torch.tensor([where_of(way) for way in ways]).view(count, 2, FIGURES, 3),
    )


def test_the_transformer_learns_scenes_and_changes_and_what_drawings_look_like_stays(
    world: World, encoder: WishEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.RUNS", tmp_path)
    transformer = build_flow_transformer(encoder.config)
    before = {name: weight.clone() for name, weight in encoder.telling.state_dict().items()}
    finder = transformer.finder.out.weight.detach().clone()
    seen: list[int] = []
    schedule = Schedule(steps=4, lr=1e-3, warmup=1, seed=1, bf16=False)
    train_flow(transformer, encoder.telling, _bank(world, 4), schedule, batch=8, check=Check(2, seen.append))
    assert seen == [2, 4]
    assert transformer.proj_out.weight.abs().sum() > 0
    assert not torch.equal(transformer.finder.out.weight, finder)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.telling.state_dict().items())
    assert (tmp_path / "picture" / "flow" / "checkpoint.pt").exists()


def test_a_bank_without_shards_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shard of the bank"):
        open_bank(tmp_path)
