"""What the files of pictures say about themselves: kind, sides, orientation, and whether they are whole.

Nothing here decodes a pixel, so a file of a few kilobytes that stands for gigabytes costs as little as any other. A
file may still be damaged within; that shows where it is decoded (`models.pictures.open_picture`).
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image

from models.errors import InvalidImage

ACCEPTED: Final = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp"
}  # fmt: skip
"""Pillow's format name → media type."""
MAX_PIXELS: Final = 64_000_000
_SEVERAL_IN_ONE: Final = {"MPO": "JPEG"}
"""Pillow's name of a file that begins like a plain one: phones put a second JPEG (depth, say) behind the first."""
_ORIENTATION: Final = 0x0112
"""The EXIF tag."""
_ON_ITS_SIDE: Final = range(5, 9)
"""The EXIF orientations for which width and height change places."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LONG_TEXT: Final = 2**19
"""Bytes of a text chunk from which Pillow refuses the whole PNG, well before its limit of a megabyte."""


@dataclass(frozen=True)
class Header:
    """What a picture's header says: Pillow's name of the format, and the sides in pixels as they lie in the file."""

    name: str
    width: int
    height: int
    orientation: int = 1

    @property
    def media_type(self) -> str:
        """As in `Content-Type`."""
        return ACCEPTED[self.name]

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height once the EXIF orientation has been applied."""
        return (self.height, self.width) if self.orientation in _ON_ITS_SIDE else (self.width, self.height)


def read_header(data: bytes, param: str | None = None, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of a picture.

    Raises:
        InvalidImage: empty, not one of the accepted formats, or more than `max_pixels`.
    """
    if not data:
        raise InvalidImage("the image is empty", param)
    try:
        header = _webp_header(data) if _is_webp(data) else _header(data)
    except (OSError, ValueError, SyntaxError, IndexError, struct.error, Image.DecompressionBombError) as error:
        raise InvalidImage("not a readable JPEG, PNG, WebP, GIF or BMP image", param) from error
    if header.width * header.height > max_pixels:
        sides = f"{header.width}x{header.height}"
        raise InvalidImage(f"the image has {sides} pixels; at most {max_pixels / 1e6:g} million are accepted", param)
    return header


def check(data: bytes, param: str | None = None, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of a picture whose file is whole, as far as its structure tells.

    Raises:
        InvalidImage: as `read_header`; or the file breaks off, or a part of it is damaged.
    """
    header = read_header(data, param, max_pixels)
    is_whole = {"PNG": _png_is_whole, "JPEG": _jpeg_is_whole, "WEBP": _webp_is_whole, "GIF": _gif_is_whole}
    try:
        whole = is_whole.get(header.name, _bmp_is_whole)(data)
    except (IndexError, struct.error):
        whole = False
    if not whole:
        raise InvalidImage("the image is truncated or damaged", param)
    return header


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation of a picture, 1 to 8; 1 where there is none, or the EXIF is damaged.

    It has been loaded, or is a file whose EXIF stands before its pixels.
    """
    try:
        # not the getexif of PNGs, which decodes all pixels for what may lie behind them
        found = Image.Image.getexif(picture).get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - Pillow's reader raises whatever damaged bytes make of it
        found = None
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def readable(data: bytes) -> bytes:
    """The file as Pillow reads it: a PNG without the metadata for whose size Pillow would refuse the picture.

    Colour profiles and compressed or long texts go; what says how to show the pixels stays.
    """
    if not data.startswith(_PNG):
        return data
    chunks = list(_png_chunks(data))
    if not any(_is_refused(kind, content) for kind, content, _ in chunks):
        return data
    kept = b"".join(_png_chunk(*chunk) for chunk in chunks if not _is_refused(*chunk[:2]))
    return _PNG + kept


def _header(data: bytes) -> Header:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of bombs, and of metadata that is damaged
        head = _png_without_pixels(data) if data.startswith(_PNG) else data
        with Image.open(io.BytesIO(head), formats=("JPEG", "PNG", "GIF", "BMP")) as opened:
            name = str(opened.format)
            return Header(_SEVERAL_IN_ONE.get(name, name), *opened.size, orientation_of(opened))


def _png_without_pixels(data: bytes) -> bytes:
    """The size and the EXIF of a PNG, wherever they stand in it; XMP tells an orientation too."""
    kept = b"".join(
        _png_chunk(kind, content, checksum)
        for kind, content, checksum in _png_chunks(data)
        if kind in (b"IHDR", b"eXIf", b"tEXt", b"iTXt") and not _is_refused(kind, content)
    )
    return _PNG + kept + _NO_PIXELS


def _png_chunk(kind: bytes, content: bytes | memoryview, checksum: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + checksum


_NO_PIXELS: Final = _png_chunk(b"IDAT", b"", struct.pack(">I", zlib.crc32(b"IDAT")))


def _is_refused(kind: bytes, content: bytes | memoryview) -> bool:
    if kind in (b"iCCP", b"zTXt"):
        return True
    if kind not in (b"tEXt", b"iTXt"):
        return False
    is_compressed = kind == b"iTXt" and bytes(content[:90]).partition(b"\0")[2][:1] == b"\1"
    return is_compressed or len(content) > _LONG_TEXT


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes]]:
    """Type, content and checksum of each whole chunk up to the end, or to where the file breaks off."""
    view = memoryview(data)
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 8 + length
        if end + 4 > len(data):
            return
        yield kind, view[at + 8 : end], data[end : end + 4]
        if kind == b"IEND":
            return
        at = end + 4


def _png_is_whole(data: bytes) -> bool:
    kind, has_pixels = b"", False
    for kind, content, checksum in _png_chunks(data):
        is_needed = not kind[0] & 0x20  # an ancillary chunk begins with a small letter
        if is_needed and zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            return False
        has_pixels |= kind == b"IDAT"
    return has_pixels and kind == b"IEND"


_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
"""A marker that is not a restart, between whose likes the coded pixels lie; in these, 0xFF is followed by 0."""


def _jpeg_is_whole(data: bytes) -> bool:
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        kind = marker[1][0]
        if kind == 0xD9:
            return True
        at = marker.end()
        if kind != 0x01:
            at += struct.unpack_from(">H", data, at)[0]
    return False


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each chunk, be it whole or not."""
    at, end = 12, min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    while at + 8 <= end:
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], at + 8, at + 8 + length
        at += 8 + length + length % 2


def _webp_header(data: bytes) -> Header:
    """Read by hand: Pillow makes room for two whole pictures as soon as it opens one."""
    size: tuple[int, int] | None = None
    orientation = 1
    for kind, begin, end in _webp_chunks(data):
        if size is None and kind == b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") for at in (begin + 4, begin + 7))
            size = width + 1, height + 1
        elif size is None and kind == b"VP8L" and data[begin] == 0x2F:
            (bits,) = struct.unpack_from("<I", data, begin + 1)
            size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        elif size is None and kind == b"VP8 " and data[begin + 3 : begin + 6] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, begin + 6)
            size = width & 0x3FFF, height & 0x3FFF
        elif kind == b"EXIF":
            orientation = _exif_orientation(data[begin:end])
    if size is None or not all(size):
        raise ValueError("no picture in it")
    return Header("WEBP", *size, orientation)


def _exif_orientation(exif: bytes) -> int:
    picture = Image.new("1", (1, 1))
    picture.info["exif"] = exif
    return orientation_of(picture)


def _webp_is_whole(data: bytes) -> bool:
    whole = [kind for kind, _, end in _webp_chunks(data) if end <= len(data)]
    is_long_enough = len(data) + len(data) % 2 >= 8 + struct.unpack_from("<I", data, 4)[0]
    return is_long_enough and not {b"VP8 ", b"VP8L", b"ANMF"}.isdisjoint(whole)


def _gif_is_whole(data: bytes) -> bool:
    """Whether the first frame is whole, which is all that is looked at."""
    at = 13 + _palette(data[10])
    while data[at] == 0x21:  # an extension
        at = _after_blocks(data, at + 2)
    if data[at] != 0x2C:
        return False
    return _after_blocks(data, at + 10 + _palette(data[at + 9]) + 1) <= len(data)


def _palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += 1 + length
    return at + 1


def _bmp_is_whole(data: bytes) -> bool:
    begin, header = struct.unpack_from("<II", data, 10)
    if header < 40:
        width, height, bits = *struct.unpack_from("<HH", data, 18), struct.unpack_from("<H", data, 24)[0]
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression in (1, 2, 4, 5):  # run lengths, JPEG, PNG: only decoding tells
        return len(data) > int(begin)
    return bool(len(data) >= int(begin) + (int(width) * bits + 31) // 32 * 4 * abs(height))
