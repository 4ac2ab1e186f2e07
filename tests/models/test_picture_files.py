"""What is known of a picture before it is decoded, and what that costs."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from models.errors import InvalidImage
from models.picture_files import check, read_header
from models.pictures import open_picture

RNG = np.random.default_rng(3)
PHOTOGRAPH = Image.fromarray(RNG.integers(0, 256, (60, 80, 3), np.uint8))
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "png of a palette": ("PNG", {"bits": 4}),
    "jpeg": ("JPEG", {}),
    "progressive jpeg": ("JPEG", {"progressive": True, "quality": 95}),
    "jpeg with restarts": ("JPEG", {"restart_marker_rows": 1}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
}


def encoded(way: str, picture: Image.Image = PHOTOGRAPH, **more: Any) -> bytes:
    kind, options = WAYS[way]
    buffer = io.BytesIO()
    (picture.quantize() if "bits" in options else picture).save(buffer, kind, **options, **more)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def refused(data: bytes) -> str:
    with pytest.raises(InvalidImage) as caught:
        check(data, "image")
    assert caught.value.param == "image"
    return caught.value.message


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_picture_is_known_by_its_header(way: str) -> None:
    header = check(encoded(way))
    assert (header.name, header.upright) == (WAYS[way][0], (80, 60))


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_that_breaks_off_is_refused_wherever_it_does(way: str) -> None:
    data = encoded(way)
    missed = []
    for length in range(len(data)):
        try:
            check(data[:length])
        except InvalidImage:
            continue
        missed.append(length)
    # the end mark of a GIF stands after the picture, and Pillow does without it
    assert missed in ([], [len(data) - 1])


@pytest.mark.parametrize("way", WAYS)
def test_nothing_but_a_clear_refusal_comes_of_damaged_bytes(way: str) -> None:
    data = encoded(way)
    for _ in range(400):
        damaged = bytearray(data)
        for at in RNG.integers(0, min(len(data), 400), 4):
            damaged[at] = RNG.integers(256)
        try:
            check(bytes(damaged), "image")
            open_picture(bytes(damaged), "image")
        except InvalidImage as error:
            assert error.param == "image"


@pytest.mark.parametrize("way", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sides_are_those_of_the_picture_as_it_is_seen(way: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(way, exif=exif)
    assert check(data).upright == ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size
    assert check(data).upright == open_picture(data).size


@pytest.mark.parametrize("after", [b"eXIf", b"iTXt"])
def test_an_orientation_behind_the_pixels_of_a_png_counts(after: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<rdf tiff:Orientation="6"/>'
    data = encoded("png")
    at = data.index(b"IEND") - 4
    data = data[:at] + chunk(after, {b"eXIf": exif.tobytes()[6:], b"iTXt": xmp}[after]) + data[at:]
    assert check(data).upright == open_picture(data).size == (60, 80)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("WEBP", "RGB"), ("GIF", "P"), ("JPEG", "RGB")])
def test_checking_a_small_file_of_many_pixels_takes_no_room_for_them(
    kind: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (6300, 6300)).save(buffer, kind)
    # a decoder's memory is its own, and gone before anybody could weigh it
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it is decoded"))
    tracemalloc.start()
    assert check(buffer.getvalue()).upright == (6300, 6300)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


def test_more_pixels_than_allowed_are_named() -> None:
    assert "80x60 pixels; at most 0.001 million" in str(_caught(lambda: read_header(encoded("png"), max_pixels=1000)))


def _caught(call: Any) -> InvalidImage:
    with pytest.raises(InvalidImage) as caught:
        call()
    return caught.value


METADATA = {
    "a colour profile": b"icc\0\0" + zlib.compress(RNG.bytes(3_000_000)),
    "compressed text": b"Comment\0\0" + zlib.compress(b"a" * 3_000_000),
    "compressed international text": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"a" * 3_000_000),
    "plain international text": b"XML:com.adobe.xmp\0\0\0\0\0" + b"a" * 3_000_000,
    "plain text": b"Comment\0" + b"a" * 3_000_000,
    "a chunk of somebody's own": RNG.bytes(3_000_000),
}
KINDS = dict(zip(METADATA, (b"iCCP", b"zTXt", b"iTXt", b"iTXt", b"tEXt", b"prVt"), strict=True))


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("what", METADATA)
def test_metadata_of_any_size_does_not_make_a_png_unreadable(what: str, place: str) -> None:
    data = encoded("png")
    more = chunk(KINDS[what], METADATA[what])
    at = data.index(b"IDAT") - 4 if place == "before" else data.index(b"IEND") - 4
    with_more = data[:at] + more + data[at:]
    assert check(with_more).upright == (80, 60)
    assert open_picture(with_more).tobytes() == open_picture(data).tobytes()


def test_a_part_of_a_png_that_is_needed_and_damaged_is_found() -> None:
    data = bytearray(encoded("png"))
    data[data.index(b"IDAT") + 20] ^= 1
    assert refused(bytes(data)) == "the image is truncated or damaged"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\xff\xff\xff\xffWEBPVP8X",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"BM",
        b"\xff\xd8\xff",
    ],
)
def test_what_is_hardly_a_file_is_refused(data: bytes) -> None:
    refused(data)
