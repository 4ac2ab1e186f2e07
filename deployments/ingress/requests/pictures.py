"""Pictures out of requests: file parts, data URLs and base64, checked before any work begins.

Nothing is decoded here. What is damaged within a file that looks whole is found by the model that reads it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from pydantic import Field

from deployments.executors import COMPUTING
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.requests import remote_pictures
from deployments.ingress.requests.body import Fields, Upload
from models.picture_files import check, read_header
from settings import Settings

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*?)(?P<base64>;base64)?,", re.IGNORECASE)

_URL_SAFE = str.maketrans("-_", "+/")


class ImageReference(Fields):
    """A picture in a JSON body as OpenAI writes it: a data URL, or http(s) where fetching is allowed."""

    image_url: str = Field(min_length=1)


ImageSource = Upload | ImageReference | str
"""A file part, `{"image_url": …}`, or text: a data URL, base64, or http(s) where fetching is allowed."""


@dataclass(frozen=True)
class Picture:
    """A checked picture as it came, and its width and height once it is turned upright."""

    data: bytes = field(repr=False)
    width: int
    height: int


async def read_picture(source: ImageSource, settings: Settings, param: str, bearer_token: str | None = None) -> Picture:
    """The picture of a file part, of OpenAI's `{"image_url": …}`, of a data URL, of base64, or behind a URL.

    Raises:
        ApiError: 400 naming `param`, 413 when there are too many bytes.
        InvalidImage: anything that is not a whole picture of an accepted type.
    """
    if isinstance(source, Upload):
        return await COMPUTING.run(_checked, source.data, settings, param)
    text = source if isinstance(source, str) else source.image_url
    if is_remote(text):
        return await COMPUTING.run(
            _checked, await remote_pictures.fetch(text, param, settings, bearer_token), settings, param
        )
    return await COMPUTING.run(lambda: _checked(from_url_or_base64(text, param), settings, param))


async def read_url(url: str, settings: Settings, param: str) -> bytes:
    """The checked picture of a data URL, or of an http(s) URL where fetching is allowed.

    Raises:
        ApiError: 400 naming `param`, 413 when there are too many bytes.
        InvalidImage: anything that is not a whole picture of an accepted type.
    """
    if is_remote(url):
        return await check_picture(await remote_pictures.fetch(url, param, settings), settings, param)
    return (await COMPUTING.run(lambda: _checked(from_url(url, param), settings, param))).data


async def check_picture(data: bytes, settings: Settings, param: str) -> bytes:
    """The bytes, once their header and structure are those of a whole picture within the limits.

    Raises:
        ApiError: 413 when there are too many bytes.
        InvalidImage: anything that is not a whole picture of an accepted type.
    """
    return (await COMPUTING.run(_checked, data, settings, param)).data


async def read_bytes(data: bytes, settings: Settings, param: str) -> Picture:
    """The checked picture of encoded bytes. Raises as `check_picture`."""
    return await COMPUTING.run(_checked, data, settings, param)


def _checked(data: bytes, settings: Settings, param: str) -> Picture:
    refuse_too_large(data, settings, param)
    return Picture(data, *check(data, param, settings.image_max_pixels).upright)


def is_remote(url: str) -> bool:
    """Whether it is one of http(s), behind which a picture has to be fetched."""
    return re.match(r"https?:", url[:6], re.IGNORECASE) is not None


def refuse_too_large(data: bytes, settings: Settings, param: str) -> None:
    """Raises ApiError 413 for more bytes than a picture may have."""
    if len(data) > settings.image_max_bytes:
        raise ApiError(
            413,
            f"{param}: the image has {len(data)} bytes; at most {settings.image_max_bytes} are accepted",
            code="request_too_large",
            param=param,
        )


def data_url(data: bytes) -> str:
    """A checked picture as a base64 data URL."""
    return f"data:{read_header(data).media_type};base64,{base64.b64encode(data).decode()}"


def from_url(url: str, param: str) -> bytes:
    """The bytes of a base64 data URL.

    Raises:
        ApiError: 400 for any other kind of URL, another media type than an image, or broken base64.
    """
    if url[:5].lower() != "data:":
        scheme = url.split(":", 1)[0][:20] if ":" in url[:20] else "none"
        raise invalid(param, f"{param}: URLs of scheme {scheme!r} are not fetched; send the image as a base64 data URL")
    head = _DATA_URL.match(url[:200])
    if head is None or not head["base64"]:
        raise invalid(param, f"{param}: not a base64 data URL (data:image/png;base64,…)", "invalid_base64")
    return from_base64(url[head.end() :], param)


def from_base64(text: str, param: str) -> bytes:
    """The bytes of base64, of either alphabet, with or without line breaks.

    Raises:
        ApiError: 400 `invalid_base64`.
    """
    try:
        data = base64.b64decode("".join(text.split()).translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(param, f"{param}: not valid base64", "invalid_base64") from error
    if not data:
        raise invalid(param, f"{param}: the image is empty", "invalid_image")
    return data


def from_url_or_base64(text: str, param: str) -> bytes:
    """A data URL, or base64 alone."""
    return from_url(text, param) if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text[:20]) else from_base64(text, param)


def base64_room(settings: Settings, pictures: int = 1) -> int:
    """Bytes of a JSON body that carries so many pictures of the largest accepted size."""
    return pictures * (settings.image_max_bytes * 4 // 3 + 1024)
