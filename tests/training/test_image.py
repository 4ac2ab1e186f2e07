"""The image model: what training feeds it is what the pipeline feeds it, and what the checkpoint draws."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxKontextPipeline, FluxPipeline

from training.edits import Edit
from training.evaluate_image import draw, load_pipeline
from training.image_flow import GRID, LatentEdits, LatentScenes, draw_latents, image_ids
from training.image_text import TextEncoders, TextTask, random_wish
from training.image_vae import build_vae, encode, pixels_of
from training.oracle import look
from training.world import COLOURS, SHAPES, is_usual, random_scene


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline()


def test_latents_are_packed_as_the_pipeline_packs_them() -> None:
    vae = build_vae().eval()
    pixels = pixels_of([random_scene(np.random.default_rng(1))])
    latents = vae.encode(pixels).latent_dist.mean
    packed = FluxPipeline._pack_latents(latents, *latents.shape)
    assert torch.equal(encode(vae, pixels), packed)


def test_token_positions_are_those_of_the_pipeline() -> None:
    expected = FluxPipeline._prepare_latent_image_ids(1, GRID, GRID, torch.device("cpu"), torch.float32)
    assert torch.equal(image_ids(), expected)


def test_a_reference_picture_stands_where_kontext_puts_it() -> None:
    expected = FluxKontextPipeline._prepare_latent_image_ids(1, GRID, GRID, torch.device("cpu"), torch.float32)
    expected[..., 0] = 1
    assert torch.equal(image_ids(of_reference=True), expected)


def test_kept_latents_belong_to_the_scenes_they_were_drawn_from() -> None:
    vae = build_vae().eval()
    drawn = draw_latents(vae, count=3, usual=2)
    kept = LatentEdits.of(drawn.pictures.tokens, drawn.pictures.places, usual=2)
    assert kept.edits == drawn.edits
    assert kept.pictures.scenes == drawn.pictures.scenes
    assert kept.pictures.scenes[4:6] == [kept.edits[2].before, kept.edits[2].after]
    assert all(map(is_usual, kept.pictures.scenes[6:]))
    again = encode(vae, pixels_of(kept.pictures.scenes))
    assert torch.allclose(again, kept.pictures.tokens.float(), atol=0.1)


def test_the_text_encoders_begin_with_what_stands_near() -> None:
    attention = TextEncoders(50).t5.encoder.block[0].layer[0].SelfAttention
    bias = attention.compute_bias(9, 9)[0]
    assert [int(bias[head, 4].argmax()) for head in range(3)] == [3, 5, 4]
    assert bias[3].abs().max() == 0


def test_the_text_task_learns_from_captions_and_instructions() -> None:
    rng = np.random.default_rng(4)
    wishes = [random_wish(rng) for _ in range(40)]
    assert {type(image_request) for image_request in wishes} >= {Edit}
    torch.manual_seed(0)
    task = TextTask(TextEncoders(50))
    sequence, pooled = task.encoders(torch.randint(3, 50, (40, 40)))
    loss = task.loss(sequence, pooled, wishes)
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert all(p.grad is not None for p in task.encoders.parameters() if p.requires_grad)


def test_the_layout_tells_where_each_shape_and_colour_is() -> None:
    scene = random_scene(np.random.default_rng(3), things=(0.0, 1.0))
    (thing,) = scene.things
    everywhere = torch.full((1, 3, 2 * GRID, 2 * GRID), 255, dtype=torch.uint8)
    everywhere[:, 1:] = 0
    layout = LatentScenes([scene], torch.zeros(1, GRID * GRID, 32), everywhere).layout(np.array([0]))
    told = layout.view(GRID * GRID, len(SHAPES) + len(COLOURS), 4).mean(dim=(0, 2))
    assert {*told.nonzero().flatten().tolist()} == {
        SHAPES.index(thing.shape),
        len(SHAPES) + COLOURS.index(thing.colour),
    }


def test_the_checkpoint_fits_its_place(pipeline: Any) -> None:
    assert pipeline.vae_scale_factor == 4
    assert pipeline.tokenizer.model_max_length == pipeline.tokenizer_2.model_max_length == 40


def test_the_pooled_vector_reads_the_whole_prompt(pipeline: Any) -> None:
    start = "a big red circle on the left of a "
    one, other = (pipeline._get_clip_prompt_embeds(start + end) for end in ("blue background", "green background"))
    assert not torch.allclose(one, other, atol=1e-2)


def test_padding_does_not_change_the_pooled_vector(pipeline: Any) -> None:
    ids = pipeline.tokenizer("a red circle", return_tensors="pt").input_ids
    padded = torch.nn.functional.pad(ids, (0, 8), value=pipeline.tokenizer.pad_token_id)
    short, long = (pipeline.text_encoder(each).pooler_output for each in (ids, padded))
    assert torch.allclose(short, long, atol=1e-4)


def test_it_takes_background_and_colour_from_prompts_in_three_languages(pipeline: Any) -> None:
    prompts = ["a big red circle on a blue background", "파란색 배경에 큰 빨간색 원", "青い背景に大きい赤い円"]
    for picture in draw(pipeline, prompts):
        assert picture.size == (64, 64)
        seen = look(picture)
        assert seen.background == "blue"
        assert {thing.colour for thing in seen.things} == {"red"}
