"""The describer's model: a Qwen2.5-VL whose eyes are an EfficientNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import linear

from models.cells import cells_of, load_trunk, strokes_of
from models.describer import READER, SPEAKER, folder_of, kinds, open_describer
from models.errors import CheckpointError
from models.packed import unpacked
from models.picture_kinds import PictureKind
from models.sight import Found, Reader, Shown, as_learnt, believed, pictures_of
from models.views import View
from tests.checkpoints.describers import SMALL_READER

BLACK, RED, WHITE = (Image.new("RGB", (50, 40), colour) for colour in ("black", "red", "white"))


@pytest.fixture(scope="module")
def opened(describer: Path) -> tuple[Any, Any]:
    return open_describer(describer, torch.float32)


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8))


def test_patches_become_the_pictures_that_they_were_cut_from(opened: tuple[Any, Any]) -> None:
    given = [noise(224, 224), BLACK, noise(224, 224)]
    cut = opened[1].image_processor(given, return_tensors="pt")
    assert cut["image_grid_thw"].tolist() == [[1, 16, 16]] * 3
    for picture, found in zip(given, pictures_of(cut["pixel_values"], cut["image_grid_thw"]), strict=True):
        normalised = torch.from_numpy(np.array(picture.resize((224, 224)))).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(found, normalised, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(50, 40), (640, 360), (7, 1000), (1, 1)])
def test_a_picture_of_any_size_is_squeezed_to_a_square_of_16_tokens(
    opened: tuple[Any, Any], size: tuple[int, int]
) -> None:
    model, processor = opened
    cut = processor.image_processor([Image.new("RGB", size, "red"), RED], return_tensors="pt")
    with torch.inference_mode():
        first, second = model.get_image_features(cut["pixel_values"], cut["image_grid_thw"]).pooler_output
    assert first.shape == second.shape == (16, 32)


def test_each_picture_is_read_as_what_it_is(opened: tuple[Any, Any]) -> None:
    model, processor = opened
    eyes = model.model.visual
    cut = processor.image_processor([RED, WHITE], return_tensors="pt")
    with torch.inference_mode():
        red, white = model.get_image_features(cut["pixel_values"], cut["image_grid_thw"]).pooler_output
        both = torch.stack(pictures_of(cut["pixel_values"], cut["image_grid_thw"]))
        torch.testing.assert_close(red, eyes.drawn(both[:1]), atol=1e-4, rtol=1e-4)
        of_white = cells_of(eyes.trunk, both[1:])
        guesses = eyes.trunk.classifier(of_white.coarse.mean((1, 2))).softmax(-1)
        assert guesses.sum() == pytest.approx(1)
        told = eyes.reader.photographed(guesses).expand(len(white), -1)
        torch.testing.assert_close(white, told, atol=1e-4, rtol=1e-4)
    assert not torch.equal(red[0], red[1])


def test_a_thing_is_what_all_views_of_a_drawing_make_likely() -> None:
    reader = Reader(8, **SMALL_READER)
    views = (View(), View(mirrored=True), View(squeezed=(1.1, 1.1)))
    one, mirrored, squeezed = found_in(3), found_in(2), found_in(1)
    all_of_them = zip(*(vars(each).values() for each in (one, mirrored, squeezed)), strict=True)
    three = Found(*(torch.cat(each) for each in all_of_them))
    three.things[0, 0] = torch.tensor([0.1, 0.1, 0.4, 0.2, 0.1, 0.1]).log()
    three.things[1, 1] = torch.tensor([0.1, 0.1, 0.1, 0.2, 0.4, 0.1]).log()
    three.things[2, 0] = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.2, 0.2]).log()
    agreed = reader.agreed(three, views)
    left = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.2, 2 ** (1 / 3) * 0.1])
    torch.testing.assert_close(agreed.things[0, 0].softmax(-1), (1.4 * left.log()).softmax(-1))
    for name in ("arrangements", "grounds", "colours", "looks"):
        assert torch.equal(getattr(agreed, name), getattr(one, name))


def scores(*likeliest: int, of: int) -> torch.Tensor:
    """Of one drawing, that are surest of these."""
    return torch.nn.functional.one_hot(torch.tensor([likeliest]), of) * 30.0


def found_in(arrangement: int) -> Found:
    """Thing 2 in colour 1, and shape 5 in colour 2, which is larger; ground 3."""
    return Found(
        cells=torch.zeros(1, 49, 6),
        looks=torch.zeros(1, 49, 2),
        things=scores(2, 5, of=6),
        colours=scores(1, 2, of=3),
        sizes=torch.tensor([[0.5, 0.7]]),
        arrangements=scores(arrangement, of=4)[:, 0],
        grounds=scores(3, of=4)[:, 0],
    )


NO_WORD = torch.zeros(1, 3, dtype=torch.int64)


def test_where_nothing_stands_nothing_is_shown() -> None:
    reader = Reader(8, **SMALL_READER)
    for arrangement, things, colours, largest in (
        (3, [2, 5], [1, 2], [False, True]),
        (1, [2, 0], [1, 0], [True, False]),
        (2, [0, 5], [0, 2], [False, True]),
        (0, [0, 0], [0, 0], [False, False]),
    ):
        shown = reader.decided(found_in(arrangement), NO_WORD)
        assert shown.things.tolist() == [things]
        assert shown.colours.tolist() == [colours]
        assert shown.largest.tolist() == [largest]
        assert (shown.arrangements.item(), shown.grounds.item()) == (arrangement, 3)


def told_of(reader: Reader, found: Found, word: torch.Tensor = NO_WORD) -> torch.Tensor:
    shown = reader.decided(found, word)
    return reader.told(shown, believed(found.things, shown.things > 0))[0]


def test_what_else_a_thing_may_be_is_believed_unless_it_is_unlikely() -> None:
    scores = torch.tensor([[[9.0, 0.7, 0.287, 0.009, 0.004]]]).log()
    (likely,) = believed(scores, torch.tensor([[True]]))[0]
    torch.testing.assert_close(likely, torch.tensor([0, 0.7, 0.287, 0.009, 0]))
    (nothing,) = believed(scores, torch.tensor([[False]]))[0]
    assert nothing.tolist() == [1, 0, 0, 0, 0]


def test_each_token_tells_one_thing_that_is_shown() -> None:
    reader = Reader(8, **SMALL_READER)

    def said(part: str, number: int) -> torch.Tensor:
        return reader.get_parameter(f"said.{part}.weight")[number]

    with torch.no_grad():
        told = told_of(reader, found_in(3), torch.tensor([[4, 2, 0]])) - reader.tokens
        wanted = [
            said("thing", 2) + said("colour", 1) + said("largest", 0),
            said("thing", 5) + said("colour", 2) + said("largest", 1),
            said("ground", 3),
            said("arrangement", 3) + said("same", 0),
            *(said("letter", number) for number in (4, 2, 0)),
        ]
        torch.testing.assert_close(told[: len(wanted)], torch.stack(wanted), atol=1e-5, rtol=0)
        assert told.shape == (16, 8)
        assert not told[len(wanted) :].any()
        nothing = told_of(reader, found_in(1)) - reader.tokens
        torch.testing.assert_close(nothing[1], said("thing", 0), atol=1e-5, rtol=0)


def test_what_else_a_thing_may_be_is_told_by_vectors_of_its_own() -> None:
    reader = Reader(8, **SMALL_READER)
    shown = reader.decided(found_in(1), NO_WORD)
    sure = torch.zeros(1, 2, 6)
    sure[0, :, 2] = 0.64
    doubtful = sure.clone()
    doubtful[0, 0, 4] = 0.25
    with torch.no_grad():
        more = reader.told(shown, doubtful) - reader.told(shown, sure)
    torch.testing.assert_close(more[0, 0], 0.5 * reader.get_parameter("said.other.weight")[4], atol=1e-5, rtol=0)
    assert not more[0, 1:].any()


@pytest.mark.parametrize(
    ("things", "colours", "are_the_same"),
    [
        ([2, 2], [1, 2], True),  # a drawing may be of several colours
        ([5, 5], [1, 1], True),
        ([5, 5], [1, 2], False),  # two shapes
        ([2, 3], [1, 1], False),
        ([2, 0], [1, 0], False),
        ([0, 0], [0, 0], False),
    ],
)
def test_several_of_a_kind_are_told_as_such(things: list[int], colours: list[int], are_the_same: bool) -> None:
    reader = Reader(8, **SMALL_READER)
    none, first = torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
    shown = Shown(torch.tensor([things]), torch.tensor([colours]), none, first, first, torch.zeros(1, 3).long())
    with torch.no_grad():
        beliefs = torch.nn.functional.one_hot(shown.things, 6).float()
        told = reader.told(shown, beliefs)[0, 3] - reader.tokens[3] - reader.get_parameter("said.arrangement.weight")[0]
        same = reader.get_parameter("said.same.weight")
    torch.testing.assert_close(told, same[int(are_the_same)], atol=1e-5, rtol=0)


def test_more_than_the_tokens_can_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="2 places and 13 letters are told by more than 16 tokens"):
        Reader(8, **{**SMALL_READER, "letters": 13})


def test_strokes_alone_are_those_of_all_cells() -> None:
    trunk, pixels = load_trunk(), torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(strokes_of(trunk, pixels), cells_of(trunk, pixels).strokes)


def test_a_guess_that_is_rather_sure_is_told_more_clearly_and_a_weak_one_as_it_is() -> None:
    reader, guesses = Reader(8, **SMALL_READER), torch.zeros(3, 1000)
    guesses[0, :3] = torch.tensor([0.3, 0.1, 0.01])
    guesses[1, :3] = torch.tensor([0.9, 0.1, 0.0])
    guesses[2, :3] = torch.tensor([0.1, 0.05, 0.01])
    with torch.no_grad():
        reader.guess.weight.zero_()
        reader.guess.bias.zero_()
        reader.guess.weight[:3, :3] = torch.eye(3)
        found = reader.photographed(guesses)[:, :3].square()
    torch.testing.assert_close(found[0], torch.tensor([0.9, 0.1, 0.0]), atol=0.01, rtol=0)
    torch.testing.assert_close(found[1, 0], torch.tensor(0.81 / 0.82), atol=0.01, rtol=0)
    torch.testing.assert_close(found[2], torch.tensor([0.1, 0.05, 0.0]), atol=1e-6, rtol=0)


def test_pictures_are_told_apart_by_the_gate(opened: tuple[Any, Any]) -> None:
    found = kinds(opened[0], [BLACK, RED, WHITE, BLACK])
    assert found == [PictureKind.SHAPES, PictureKind.DRAWING, PictureKind.PHOTOGRAPH, PictureKind.SHAPES]
    assert kinds(opened[0], []) == []


def test_weights_are_those_of_the_files_and_the_head_is_the_embedding(opened: tuple[Any, Any], describer: Path) -> None:
    model = opened[0]
    for module, name in ((model.model.visual.reader, READER), (model.model.language_model, SPEAKER)):
        kept = load_file(describer / name)
        assert torch.int8 in {value.dtype for value in kept.values()}
        whole, own = unpacked(kept), module.state_dict()
        assert whole.keys() == own.keys()
        for part, value in own.items():
            torch.testing.assert_close(value, whole[part])
    embedding = model.get_input_embeddings().weight
    assert model.lm_head.weight is embedding
    hidden = torch.ones(1, embedding.shape[1])
    torch.testing.assert_close(model.lm_head(hidden), linear(hidden, embedding))


def test_the_tower_of_qwen_is_not_there(opened: tuple[Any, Any]) -> None:
    trunk = sum(weight.numel() for weight in opened[0].model.visual.trunk.parameters())
    assert trunk == pytest.approx(4_650_000, rel=0.01)
    assert not [name for name, _ in opened[0].named_parameters() if "patch_embed" in name or "merger" in name]


def test_it_works_in_bfloat16(describer: Path) -> None:
    model, processor = open_describer(describer, torch.bfloat16)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert kinds(model, [BLACK, RED, WHITE]) == [0, 1, 2]
    asked = "<|vision_start|><|image_pad|><|vision_end|>" * 2
    inputs = processor(text=[asked], images=[RED, WHITE], return_tensors="pt").to("cpu", torch.bfloat16)
    with torch.inference_mode():
        assert torch.isfinite(model(**inputs).logits).all()


def test_a_drawing_is_looked_at_as_sharp_as_those_that_taught() -> None:
    lines = torch.full((1, 3, 224, 224), -1.0)
    lines[..., ::2] = 1.0
    assert as_learnt(lines).std() < 0.1
    smooth = torch.linspace(-1, 1, 224).expand(1, 3, 224, 224)
    torch.testing.assert_close(as_learnt(smooth), smooth, atol=0.02, rtol=0)


def test_a_folder_without_its_weights_is_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no reader\.safetensors: .* write `engine: vlm`"):
        folder_of(str(tmp_path), "vlm")
    with pytest.raises(CheckpointError, match=r"is a folder, not 'Qwen/Qwen2\.5-VL'; .* write `engine: captioner`"):
        folder_of("Qwen/Qwen2.5-VL", "captioner")
