"""Two captioners side by side: each captions what it knows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from models.caption.engines.captioner import BlipEngine
from models.caption.engines.captioner_mixture import CaptionerMixtureEngine, _caption
from models.catalog import check_checkpoint, create_engine, fingerprints
from models.checkpoints import fingerprint
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError
from tests.models.conftest import Shelf, entry_of, loaded, with_options

BLACK, RED, WHITE = (Image.new("RGB", (50, 40), colour) for colour in ("black", "red", "white"))
LONG = Image.new("RGB", (300, 40), "red")
PICTURES = [RED, BLACK, WHITE, LONG]


@pytest.fixture(scope="module")
def entry(describer: Path, shelf: Shelf) -> ModelEntry:
    return with_options(entry_of("captioner_mixture", describer), shapes=shelf("blip").checkpoint)


@pytest.fixture(scope="module")
def mixture(entry: ModelEntry) -> CaptionerMixtureEngine:
    engine: CaptionerMixtureEngine = loaded(entry)
    return engine


@pytest.fixture(scope="module")
def blip(shelf: Shelf) -> BlipEngine:
    engine: BlipEngine = loaded(shelf("blip"))
    return engine


@pytest.mark.parametrize("prefix", [None, "A  photo of"])
def test_pictures_of_shapes_are_captioned_as_by_the_engine_captioner_others_not(
    mixture: CaptionerMixtureEngine, blip: BlipEngine, prefix: str | None
) -> None:
    found, known = mixture.caption(PICTURES, prefix), blip.caption(PICTURES, prefix)
    assert [ours == blips for ours, blips in zip(found, known, strict=True)] == [False, True, False, False]


@pytest.mark.parametrize("prefix", [pytest.param(None, marks=pytest.mark.nightly), "a photo of"])
def test_pictures_together_are_captioned_as_alone_in_order(
    mixture: CaptionerMixtureEngine, entry: ModelEntry, prefix: str | None
) -> None:
    captions = mixture.caption(PICTURES, prefix)
    assert captions == [mixture.caption([picture], prefix)[0] for picture in PICTURES]
    assert mixture.caption(PICTURES[::-1], prefix) == captions[::-1]
    pairs = loaded(with_options(entry, **entry.options, max_batch=2))
    assert pairs.caption(PICTURES, prefix) == captions


@pytest.mark.parametrize("prefix", ["A photo of", "이 그림은", "<|im_end|> <|image_pad|> a"])
def test_a_caption_begins_with_its_prefix_word_for_word(mixture: CaptionerMixtureEngine, prefix: str) -> None:
    captions = mixture.caption([RED, WHITE], f"  {prefix} ")
    assert all(caption.startswith(prefix) for caption in captions)
    assert any(len(caption) > len(prefix) for caption in captions)


def test_the_model_reads_the_prefix_behind_the_question(mixture: CaptionerMixtureEngine) -> None:
    plain, begun = (mixture._inputs([RED, LONG], prefix) for prefix in ("", "A photo of"))
    tokens = mixture._processor.tokenizer("A photo of").input_ids
    assert begun["input_ids"][:, -len(tokens) :].tolist() == [tokens, tokens]
    assert begun["input_ids"][:, : -len(tokens)].tolist() == plain["input_ids"].tolist()
    assert begun["attention_mask"][:, -len(tokens) :].all()
    assert {value.shape for name, value in begun.items() if name in {"input_ids", "attention_mask"}} == {
        (2, plain["input_ids"].shape[1] + len(tokens))
    }
    (asked,) = mixture._processor.batch_decode(plain["input_ids"][:1])
    assert "Describe this image in one short sentence." in asked
    assert asked.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("prefix", "written", "caption"),
    [
        ("", "A cat on a sofa.", "a cat on a sofa"),
        ("", ' The word  "STOP".\n', 'the word "STOP"'),
        ("", "TV on a table.", "TV on a table"),
        ("", "I do not know what this picture shows.", "I do not know what this picture shows"),
        ("", "고양이가 있습니다.", "고양이가 있습니다"),
        ("", "猫がいます。", "猫がいます"),
        ("", "", ""),
        ("A photo of", " a cat.", "A photo of a cat"),
        ("Is it red?", " Yes.", "Is it red? Yes"),
        ("Made in the U.S.", ".", "Made in the U.S."),
        ("a photo.", "", "a photo."),
        ("a photo.", " \n", "a photo."),
    ],
)
def test_a_caption_is_no_sentence_but_the_words_of_one(prefix: str, written: str, caption: str) -> None:
    assert _caption(prefix, written) == caption


def test_the_longest_caption_and_the_beams_are_options_of_both(entry: ModelEntry) -> None:
    whole = loaded(entry).caption(PICTURES)
    short = loaded(with_options(entry, **entry.options, max_new_tokens=2)).caption(PICTURES)
    assert sum(map(len, short)) < sum(map(len, whole))
    assert len(short[1]) < len(whole[1])
    assert len(loaded(with_options(entry, **entry.options, num_beams=2)).caption(PICTURES, "a")) == len(PICTURES)


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (1, 150)])
def test_very_small_pictures_are_captioned(mixture: CaptionerMixtureEngine, size: tuple[int, int]) -> None:
    for colour in ("black", "red", "white"):
        assert len(mixture.caption([Image.new("RGB", size, colour)])) == 1


def test_no_pictures_are_no_captions(mixture: CaptionerMixtureEngine) -> None:
    assert mixture.caption([]) == []


def test_a_caller_who_leaves_stops_the_model_within_a_token(mixture: CaptionerMixtureEngine) -> None:
    for pictures in ([RED, WHITE], [BLACK]):
        asked: list[bool] = []

        def left(asked: list[bool] = asked) -> bool:
            asked.append(True)
            return len(asked) > 2

        with pytest.raises(Cancelled):
            mixture.caption(pictures, is_cancelled=left)
        assert len(asked) == 4  # twice no, then yes, and once more on the way out
    assert mixture.caption(PICTURES)


@pytest.mark.nightly
def test_both_models_come_and_go_together_and_write_nothing(
    entry: ModelEntry, blip: BlipEngine, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = create_engine(entry)
    assert isinstance(engine, CaptionerMixtureEngine)
    capfd.readouterr()
    for _ in range(2):
        engine.load()
        engine.warm_up()
        assert engine.footprint > blip.footprint + 4 * 4_600_000, "the trunk has 4.6 million weights"
        assert len(engine.caption(PICTURES)) == len(PICTURES)
        engine.unload()
        assert engine.footprint == 0
    assert capfd.readouterr() == ("", "")


def test_what_is_no_describer_is_refused_before_the_start_with_what_to_write(
    entry: ModelEntry, shelf: Shelf, describer: Path
) -> None:
    check_checkpoint(entry)
    for checkpoint, wrong in (
        (shelf("blip").checkpoint, r"is a blip model, no atelier_describer: write `engine: captioner`"),
        ("Salesforce/blip-image", r"is a folder, not 'Salesforce/.*; for one of the hub write `engine: captioner`"),
    ):
        with pytest.raises(CheckpointError, match=wrong):
            check_checkpoint(entry.model_copy(update={"checkpoint": checkpoint}))
    with pytest.raises(CheckpointError, match=r"options\.shapes: .* is a qwen2_5_vl model, not blip or blip-2"):
        check_checkpoint(with_options(entry, shapes=shelf("qwen2_5_vl").checkpoint))
    with pytest.raises(CheckpointError, match="not blip or blip-2; the engine 'captioner_mixture' loads it"):
        check_checkpoint(entry_of("captioner", describer))


def test_other_weights_of_either_model_make_other_captions_by_name(
    entry: ModelEntry, describer: Path, tmp_path: Path
) -> None:
    one, two = fingerprints(entry).split("+")
    assert one == fingerprint(entry)
    assert two == fingerprint(entry_of("captioner", entry.options["shapes"]))
    shutil.copytree(entry.options["shapes"], tmp_path / "blip")
    (tmp_path / "blip" / "more.safetensors").write_bytes(b"more")
    changed = with_options(entry, shapes=str(tmp_path / "blip"))
    assert fingerprints(changed).split("+")[0] == one
    assert fingerprints(changed) != fingerprints(entry)


def test_the_other_model_has_to_be_on_disk(entry: ModelEntry) -> None:
    with pytest.raises(CheckpointError, match=r"^options\.shapes: 'Salesforce/blip' is no folder; allowed is one, or"):
        check_checkpoint(with_options(entry, shapes="Salesforce/blip"))
