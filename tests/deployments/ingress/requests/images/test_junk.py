"""Whatever is sent as a field, a size, a key or a picture is read, or refused by its name."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import re

import httpx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import settings as configuration
from deployments.ingress.errors import ApiError
from deployments.ingress.requests.body import Fields, Upload
from deployments.ingress.requests.pictures import (
    ImageReference,
    Picture,
    from_base64,
    from_url,
    from_url_or_base64,
    read_picture,
)
from deployments.ingress.schemas.images import (
    ALIASES,
    OLD_ALIASES,
    Generation,
)
from deployments.ingress.services.image_jobs import MAX_PIXELS, size_like, size_of
from deployments.ingress.services.object_keys import image_key
from models.errors import InvalidImage
from tests.deployments.apps import ARGS
from tests.deployments.ingress.requests.images.bodies import (
    MODELS,
    SETTINGS,
    as_form,
    as_json,
    bounded,
    form_pairs,
    requests,
    sent,
)

SMALL = configuration.validate(ARGS, {"IMAGE_MAX_PIXELS": "100000"})


ANY_TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("\ud800\udfff\0[]{}"), max_size=30)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([2**53, -(2**63), 10**400, 0]) | st.floats() | ANY_TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["name", "weight", "image_url", "data", "filename"]), inner, max_size=3)
        | st.dictionaries(ANY_TEXT, inner, max_size=3)
    ),
    max_leaves=8,
)  # fmt: skip


def check_refusal(error: ApiError, model: type[Fields]) -> None:
    assert error.status == 400
    assert error.message
    if error.code == "invalid_json":  # half of a surrogate pair
        return
    assert error.param is not None
    root = re.split(r"[.\[]", error.param)[0]
    assert root in {*model.model_fields, *ALIASES, *OLD_ALIASES}, error.param


@pytest.mark.parametrize("model", MODELS)
@bounded
@given(chosen=st.data())
def test_junk_in_any_field_is_a_request_or_a_refusal_that_names_it(model: type[Fields], chosen: st.DataObject) -> None:
    names = st.sampled_from([*model.model_fields, *(ALIASES if "steps" in model.model_fields else OLD_ALIASES)])
    values = chosen.draw(requests(model)) | chosen.draw(st.dictionaries(names, ANY_JSON, min_size=1, max_size=3))
    try:
        read = sent(model, as_json(values))
    except ApiError as error:
        check_refusal(error, model)
    else:
        for name, value in read:
            assert not isinstance(value, float) or math.isfinite(value), name
    pairs = [(name, text.encode(errors="replace").decode()) for name, text in form_pairs(values)]
    for multipart in (True, False):
        try:
            sent(model, as_form(pairs, multipart=multipart))
        except ApiError as error:
            check_refusal(error, model)


KINDS = ["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary=",
         "application/x-www-form-urlencoded", "text/plain", ""]  # fmt: skip


PIECES = [b"--x", b"--x--", b"\r\n", b"\n", b"Content-Disposition: form-data; ", b'name="prompt"', b'; filename=""',
          b"{", b'"prompt":', b"=", b"&", b";", b"%", b"\xff", b"a", b":"]  # fmt: skip


@bounded
@given(kind=st.sampled_from(KINDS), content=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_no_body_is_more_than_refused(kind: str, content: bytes) -> None:
    headers = {"content-type": kind} if kind else {}
    try:
        sent(Generation, httpx.Request("POST", "http://test", content=content, headers=headers))
    except ApiError as error:
        assert error.status in (400, 415)


SIDES = st.none() | st.integers(-5000, 5000) | st.integers(0, 200).map(lambda i: i * 16)


SIZES = st.just("auto") | st.builds("{}x{}".format, SIDES, SIDES) | st.text(max_size=12) | st.from_regex(r"\d+[xX]\d+")


@settings(bounded, max_examples=120)
@given(size=SIZES, width=SIDES, height=SIDES)
def test_a_size_is_within_the_limits_or_refused_by_its_name(size: str, width: int | None, height: int | None) -> None:
    try:
        sides = size_of(size, width, height, (512, 768))
    except ApiError as error:
        assert (error.status, error.param in ("size", "width", "height")) == (400, True)
        said = {"size": size != "auto", "width": width is not None, "height": height is not None}
        assert said[error.param or ""]
        return
    check_size(sides)
    assert width in (None, sides[0])
    assert height in (None, sides[1])


@settings(bounded, max_examples=120)
@given(width=st.integers(1, 100_000), height=st.integers(1, 100_000))
def test_the_size_of_any_picture_becomes_one_within_the_limits(width: int, height: int) -> None:
    assume(width * height <= SETTINGS.image_max_pixels)
    sides = size_like(Picture(b"", width, height))
    check_size(sides)
    if min(width, height) >= 64 and max(width, height) <= 2048:
        assert all(abs(made - given) <= 8 for made, given in zip(sides, (width, height), strict=True))


def check_size(sides: tuple[int, int]) -> None:
    assert all(64 <= side <= 2048 and side % 16 == 0 for side in sides)
    assert sides[0] * sides[1] <= MAX_PIXELS


PREFIXES = ["", "AI/IMAGES/", "a/b/c/"]


PREFIXED = {prefix: configuration.validate(ARGS, {"IMAGE_REMOTE_PREFIX": prefix}) for prefix in PREFIXES}


KEY_PIECES = ["AI/IMAGES/", "a/b/c/", "AI/SEARCH/", "../", "..", "./", "/", "//", "\\", "uploads/i/", "image_search.db",
              "a", ".png", "%2e", "\0", "\ud800", "한", ".incoming/", "İ"]  # fmt: skip


@settings(bounded, max_examples=120)
@given(prefix=st.sampled_from(PREFIXES), key=st.lists(st.sampled_from(KEY_PIECES), max_size=6).map("".join))
def test_no_key_is_taken_that_leads_out_of_its_prefix(prefix: str, key: str) -> None:
    try:
        taken = image_key(key, PREFIXED[prefix])
    except ApiError:
        return
    assert taken == key
    assert taken.startswith(prefix)
    assert len(taken) > len(prefix)
    assert not {"", ".", ".."} & set(taken.split("/"))
    assert not re.search(r"[\\\0]", taken)
    taken.encode()


URLS = st.lists(
    st.sampled_from(["data:", "DATA:", "image/png", "text/html", ";base64", ";charset=x", ",", ";", "AA==", "A", "=",
                     "http://", "file:///etc/passwd", " ", "\n", "é", "\ud800", "javascript:"]) | ANY_TEXT,
    max_size=8,
).map("".join)  # fmt: skip


@settings(bounded, max_examples=120)
@given(text=URLS | ANY_TEXT)
def test_no_text_where_a_picture_belongs_is_more_than_refused(text: str) -> None:
    for reader in (from_url, from_base64, from_url_or_base64):
        try:
            assert reader(text, "image")
        except ApiError as error:
            assert (error.status, error.param) == (400, "image")
    sources: list[str | ImageReference] = (
        [text] if not text or re.search("[\ud800-\udfff]", text) else [text, ImageReference(image_url=text)]
    )
    for source in sources:
        try:
            asyncio.run(read_picture(source, SETTINGS, "image"))
        except (ApiError, InvalidImage) as error:
            assert error.param == "image"


@bounded
@given(data=st.binary(min_size=1), breaks=st.integers(1, 80))
def test_bytes_are_read_back_from_base64_and_data_urls_with_line_breaks_too(data: bytes, breaks: int) -> None:
    text = base64.b64encode(data).decode()
    broken = "\r\n".join(text[i : i + breaks] for i in range(0, len(text), breaks))
    assert from_url_or_base64(broken, "image") == data
    assert from_url(f"data:image/png;base64,{broken}", "image") == data


def _whole(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    picture = Image.linear_gradient("L").resize((24, 16)).convert("P" if kind == "GIF" else "RGB")
    behind = {"save_all": True, "append_images": [picture]} if kind == "MPO" else {}
    picture.save(buffer, kind, **behind, **({} if kind in ("GIF", "BMP") else {"exif": exif}))
    return buffer.getvalue()


WHOLE = {kind: _whole(kind) for kind in ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP")}


@pytest.mark.parametrize("kind", WHOLE)
@settings(bounded, max_examples=60)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0.1, 1),
)
def test_a_damaged_picture_is_read_or_refused(kind: str, changes: list[tuple[float, int]], kept: float) -> None:
    data = bytearray(WHOLE[kind])
    for where, byte in changes:
        data[int(where * len(data))] = byte
    try:
        read = asyncio.run(read_picture(Upload("x", bytes(data[: int(kept * len(data)) + 1])), SMALL, "image"))
    except InvalidImage as error:
        assert error.param == "image"
    else:
        assert read.width * read.height <= SMALL.image_max_pixels
