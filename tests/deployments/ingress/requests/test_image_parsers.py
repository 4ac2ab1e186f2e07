"""What the picture routes read, whatever is sent: Hypothesis chooses the requests."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.requests import Request

import settings as configuration
from deployments.ingress.errors import ApiError
from deployments.ingress.requests import body
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
    MAX_SEED,
    OLD_ALIASES,
    Edit,
    Generation,
    OnePicture,
    Process,
    StoredPicture,
    Variation,
)
from deployments.ingress.services.image_jobs import MAX_PIXELS, size_like, size_of
from deployments.ingress.services.object_keys import image_key
from models.errors import InvalidImage
from tests.deployments.apps import ARGS

MODELS: list[type[Fields]] = [Generation, Edit, Variation, OnePicture, StoredPicture, Process]
SETTINGS = configuration.validate(ARGS, {})
SMALL = configuration.validate(ARGS, {"IMAGE_MAX_PIXELS": "100000"})

bounded = settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
"""The same few requests on every machine, however slow it is."""


def sent(model: type[Fields], request: httpx.Request) -> Fields:
    """What `body.read` makes of a request."""
    content = request.read()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    app = SimpleNamespace(state=SimpleNamespace(atelier=SimpleNamespace(settings=SETTINGS)))
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    scope = {"type": "http", "method": "POST", "headers": headers, "app": app}
    aliases = ALIASES if "steps" in model.model_fields else OLD_ALIASES
    return asyncio.run(body.read(Request(scope, receive), model, max_bytes=1 << 20, aliases=aliases))


def as_json(values: Any) -> httpx.Request:
    headers = {"content-type": "application/json"}
    return httpx.Request("POST", "http://test", content=json.dumps(values), headers=headers)


def as_form(pairs: list[tuple[str, str]], *, multipart: bool) -> httpx.Request:
    if multipart:
        return httpx.Request("POST", "http://test", files=[(name, (None, text)) for name, text in pairs])
    by_name: dict[str, list[str]] = {}
    for name, text in pairs:
        by_name.setdefault(name, []).append(text)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return httpx.Request("POST", "http://test", data=by_name, headers=headers)


def form_pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    """JSON values as the SDKs write them in forms."""
    pairs: list[tuple[str, str]] = []

    def put(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{name}[{key}]", inner)
        elif isinstance(value, list):
            for inner in value:
                put(f"{name}[]", inner)
        elif value is not None:
            pairs.append((name, value if isinstance(value, str) else json.dumps(value)))

    for name, value in values.items():
        put(name, value)
    return pairs


TEXT = st.text(min_size=1, max_size=40)
BASE64 = st.binary(min_size=1, max_size=20).map(lambda data: base64.b64encode(data).decode())
REFERENCE = st.fixed_dictionaries({"image_url": BASE64.map(lambda text: f"data:image/png;base64,{text}")})
SIDE = st.integers(-10, 5000)
VALID: dict[str, st.SearchStrategy[Any]] = {
    "prompt": TEXT,
    "title": TEXT,
    "description": TEXT,
    "negative_prompt": TEXT,
    "model": TEXT,
    "user": TEXT,
    "safety_identifier": TEXT,
    "key": TEXT,
    "bearer_token": TEXT,
    "input_image_url": TEXT,
    "seed": st.integers(0, MAX_SEED),
    "steps": st.integers(1, 150),
    "num_inference_steps": st.integers(1, 50),
    "guidance": st.floats(0, 20) | st.integers(0, 20),
    "guidance_scale": st.floats(0, 20) | st.integers(0, 20),
    "width": SIDE,
    "height": SIDE,
    "n": st.integers(1, 10),
    "size": st.sampled_from(["auto", "64x64", "1024x1024", "huge"]),
    "response_format": st.sampled_from(["b64_json", "url"]),
    "quality": st.sampled_from(["auto", "low", "standard", "hd", "max"]),
    "background": st.sampled_from(["auto", "opaque", "transparent"]),
    "output_format": st.sampled_from(["png", "jpeg", "webp"]),
    "output_compression": st.integers(0, 100),
    "stream": st.booleans(),
    "partial_images": st.integers(0, 3),
    "loras": st.lists(st.fixed_dictionaries({"name": TEXT, "weight": st.floats(-4, 4)}), min_size=1, max_size=3),
    "moderation": st.sampled_from(["auto", "low"]),
    "style": st.sampled_from(["vivid", "natural"]),
    "image": BASE64 | REFERENCE,
    "images": st.lists(REFERENCE, min_size=1, max_size=16),
    "mask": BASE64 | REFERENCE,
    "strength": st.floats(0.01, 1),
}
"""Values that the routes take, by field; files are sent as files and have tests of their own."""


def requests(model: type[Fields]) -> st.SearchStrategy[dict[str, Any]]:
    """Requests that are valid but for what one field says of another."""
    names = [name for name in model.model_fields if name != "input_file"]
    either: list[dict[str, Any]] = [{}]
    if model is Edit:
        either = [{"image": st.lists(BASE64, min_size=1, max_size=16) | VALID["image"]}, {"images": VALID["images"]}]
    elif issubclass(model, OnePicture):
        either = [{"prompt": TEXT}, {"title": TEXT, "description": TEXT}]
    exclusive = {name for fields in either for name in fields}
    fields = {name: VALID[name] for name in names if name not in exclusive}
    required = {name: fields.pop(name) for name in names if model.model_fields[name].is_required() and name in fields}
    ways = st.one_of(*(st.fixed_dictionaries({**required, **way}, optional=fields) for way in either))
    return ways.filter(bool)  # no form says nothing


@pytest.mark.parametrize("model", MODELS)
@bounded
@given(chosen=st.data())
def test_the_same_values_are_the_same_request_as_json_multipart_and_urlencoded(
    model: type[Fields], chosen: st.DataObject
) -> None:
    values = chosen.draw(requests(model))
    read = sent(model, as_json(values))
    pairs = form_pairs(values)
    assert sent(model, as_form(pairs, multipart=True)) == read
    assert sent(model, as_form(pairs, multipart=False)) == read
    assert all(getattr(read, name) is not None for name in values)


@bounded
@given(loras=VALID["loras"], prompt=TEXT)
def test_objects_in_a_form_may_be_json(loras: list[dict[str, Any]], prompt: str) -> None:
    read = sent(Generation, as_json({"prompt": prompt, "loras": loras}))
    for pairs in ([("loras", json.dumps(loras))], [("loras[]", json.dumps(lora)) for lora in loras]):
        assert sent(Generation, as_form([("prompt", prompt), *pairs], multipart=True)) == read


@bounded
@given(
    files=st.lists(st.tuples(st.sampled_from(["image", "image[]"]), st.binary(max_size=20)), min_size=1, max_size=16)
)
def test_files_of_an_edit_keep_their_number_and_order_whatever_their_part_is_called(
    files: list[tuple[str, bytes]],
) -> None:
    parts = [(name, (f"{i}.png", data)) for i, (name, data) in enumerate(files)]
    read = sent(Edit, httpx.Request("POST", "http://test", data={"prompt": "a"}, files=parts))
    assert isinstance(read, Edit)
    assert read.sources == [Upload(f"{i}.png", data) for i, (_, data) in enumerate(files)]


def test_parts_that_fit_no_one_object_are_refused() -> None:
    loras = [("loras[][name]", "a"), ("loras[][weight]", "1"), ("loras[][name]", "b")]
    for pairs in (loras, [("loras", "[]"), ("loras[][name]", "a")], [("mask[image_url]", "a")] * 2):
        for multipart in (True, False):
            with pytest.raises(ApiError) as refused:
                sent(Edit, as_form([("prompt", "a"), *pairs], multipart=multipart))
            assert (refused.value.status, refused.value.param) == (400, re.split(r"\[", pairs[0][0])[0])


def test_a_file_field_that_a_browser_leaves_empty_is_absent() -> None:
    disposition = "Content-Disposition: form-data; name="
    lines = ["--x", f'{disposition}"prompt"', "", "a", "--x", f'{disposition}"input_file"; filename=""',
             "Content-Type: application/octet-stream", "", "", "--x--", ""]  # fmt: skip
    headers = {"content-type": "multipart/form-data; boundary=x"}
    form = httpx.Request("POST", "http://test", content="\r\n".join(lines).encode(), headers=headers)
    assert sent(Process, form) == Process(prompt="a")


@pytest.mark.parametrize("model", [OnePicture, StoredPicture, Process])
def test_every_route_takes_both_spellings(model: type[Fields]) -> None:
    long = sent(model, as_json({"prompt": "a", "num_inference_steps": 4, "guidance_scale": 2.5}))
    assert sent(model, as_json({"prompt": "a", "steps": 4, "guidance": 2.5})) == long
    with pytest.raises(ApiError, match="disagree") as refused:
        sent(model, as_json({"prompt": "a", "steps": 4, "num_inference_steps": 5}))
    assert (refused.value.status, refused.value.param) == (400, "steps")


def test_no_object_passes_for_a_file() -> None:
    pairs = [("input_file[filename]", "x.png"), ("input_file[data]", "x")]
    for request in (
        as_json({"input_file": {"filename": "x.png", "data": "x"}}),
        as_form(pairs, multipart=True),
        as_form(pairs, multipart=False),
    ):
        with pytest.raises(ApiError) as refused:
            sent(Process, request)
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_type", "input_file")


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
