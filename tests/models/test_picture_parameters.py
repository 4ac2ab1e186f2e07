"""What is written into a picture's file, read back with Pillow."""

from __future__ import annotations

import io
import json
from typing import Any, Literal

import pytest
from PIL import Image, ImageChops

from models.picture_parameters import MAX_EXIF_BYTES, as_text, exif_of, parameters_of
from models.pictures import encode
from models.tasks import ImageJob, LoraUse

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
PLAIN = ImageJob("a red circle", 64, 96, steps=12, guidance=3.5, seed=7)
FULL = ImageJob(
    "빨간 원, 🟥\nsoft light", 64, 96, steps=4, guidance=1.0, seed=2**53 - 1, negative_prompt="blur: no, noise",
    strength=0.65, loras=(LoraUse("ink", 0.5), LoraUse("clay")),
)  # fmt: skip
PICTURE = Image.linear_gradient("L").convert("RGB").resize((64, 96))


def parameters(job: ImageJob = FULL) -> dict[str, Any]:
    return parameters_of(job, job.seed, "image-gen", "org/model")


def read_back(data: bytes) -> str:
    """The text as other tools find it."""
    with Image.open(io.BytesIO(data)) as picture:
        if picture.format == "PNG":
            return str(picture.info["parameters"])
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
    encoding, text = comment[:8], comment[8:]
    return str(text.decode({b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16-be"}[encoding]))


def test_the_text_has_the_common_form() -> None:
    assert as_text(parameters()) == (
        "빨간 원, 🟥\nsoft light <lora:ink:0.5> <lora:clay:1>\n"
        "Negative prompt: blur: no, noise\n"
        "Steps: 4, CFG scale: 1, Seed: 9007199254740991, Size: 64x96, Model: image-gen, Checkpoint: org/model, "
        "Denoising strength: 0.65"
    )
    assert as_text(parameters(PLAIN)).splitlines()[0] == "a red circle"
    assert "Negative" not in as_text(parameters(PLAIN))


@pytest.mark.parametrize("job", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_gives_the_text_back_and_keeps_its_pixels(output_format: Format, job: ImageJob) -> None:
    with_text = encode(PICTURE, output_format, 90, parameters(job))
    assert read_back(with_text) == as_text(parameters(job))
    assert with_text == encode(PICTURE, output_format, 90, parameters(job))
    plain = encode(PICTURE, output_format, 90)
    with Image.open(io.BytesIO(with_text)) as one, Image.open(io.BytesIO(plain)) as other:
        assert ImageChops.difference(one, other).getbbox() is None


def test_a_png_has_the_same_by_the_names_of_the_api() -> None:
    with Image.open(io.BytesIO(encode(PICTURE, "png", parameters=parameters()))) as picture:
        told = json.loads(picture.info["atelier"])
    assert told == {
        "prompt": FULL.prompt, "negative_prompt": "blur: no, noise", "model": "image-gen", "checkpoint": "org/model",
        "seed": 2**53 - 1, "steps": 4, "guidance": 1.0, "size": "64x96", "strength": 0.65,
        "loras": [{"name": "ink", "weight": 0.5}, {"name": "clay", "weight": 1.0}],
    }  # fmt: skip


@pytest.mark.parametrize("checkpoint", ["/home/ann/models/sdxl", "~/models/sdxl/", "./sdxl"])
def test_where_a_checkpoint_lies_is_not_said(checkpoint: str) -> None:
    assert parameters_of(PLAIN, 1, "image-gen", checkpoint)["checkpoint"] == "sdxl"


def test_what_has_room_in_a_jpeg_is_written_and_its_size_is_known_before() -> None:
    long = ImageJob("a" * 32_000, 64, 64, 1, 0, seed=1, negative_prompt="b" * 32_000)
    assert len(exif_of(parameters(long))) <= MAX_EXIF_BYTES
    assert read_back(encode(PICTURE, "jpeg", 90, parameters(long))) == as_text(parameters(long))
    longer = ImageJob("빨" * 32_000, 64, 64, 1, 0, seed=1, negative_prompt="b" * 1000)
    assert len(exif_of(parameters(longer))) > MAX_EXIF_BYTES
    assert read_back(encode(PICTURE, "webp", 90, parameters(longer))) == as_text(parameters(longer))
