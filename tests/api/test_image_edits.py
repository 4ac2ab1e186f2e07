"""Changing pictures, through HTTP: every dialect, every way, and what is refused."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI
from PIL import Image, ImageFilter

from tests.api.conftest import fault
from tests.api.pictures import SVG, TRUNCATED, bomb, data_url, png, scene

RED_ON_BLUE = png(scene("circle", "red", "blue"))
ORDER = "make the circle yellow"


def opened(item: Any) -> Image.Image:
    b64 = item["b64_json"] if isinstance(item, dict) else item.b64_json
    return Image.open(io.BytesIO(base64.b64decode(b64))).convert("RGB")


def pixels(picture: Image.Image | bytes) -> np.ndarray:
    if isinstance(picture, bytes):
        picture = Image.open(io.BytesIO(picture)).convert("RGB")
    return np.asarray(picture, int)


def edited(http: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    body = {"prompt": ORDER, "image": base64.b64encode(RED_ON_BLUE).decode(), "seed": 1, **fields}
    data: list[dict[str, Any]] = http.post("/v1/images/edits", json=body).raise_for_status().json()["data"]
    return data


def mask(alpha: np.ndarray) -> bytes:
    """A PNG that lets change where `alpha` is 0."""
    picture = Image.fromarray(np.zeros((*alpha.shape, 4), np.uint8), "RGBA")
    picture.putalpha(Image.fromarray(alpha.astype(np.uint8)))
    return png(picture)


def half_open(width: int = 64, height: int = 64) -> bytes:
    alpha = np.full((height, width), 255)
    alpha[:, : width // 2] = 0
    return mask(alpha)


def test_an_instruction_changes_what_it_names_and_leaves_the_rest(sdk: OpenAI) -> None:
    answer = sdk.images.edit(image=RED_ON_BLUE, prompt=ORDER, extra_body={"seed": 3})
    assert answer.data is not None
    changed = pixels(opened(answer.data[0]))
    assert np.abs(changed[32, 32] - (242, 216, 48)).max() < 60
    assert np.abs(changed[4, 4] - pixels(RED_ON_BLUE)[4, 4]).max() < 40
    assert answer.size == "64x64"


def eroded(mask: np.ndarray) -> np.ndarray:
    """Without its edge, two pixels wide."""
    return np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MinFilter(5))) > 0


def test_on_another_ground_things_keep_their_pixels_and_nothing_is_left_of_the_old_one(http: httpx.Client) -> None:
    wish = {"prompt": "a red apple on a blue background", "seed": 3}
    drawn = http.post("/v1/images/generations", json=wish).raise_for_status().json()["data"][0]
    before = pixels(opened(drawn))
    after = pixels(opened(edited(http, image=drawn["b64_json"], prompt="make the background space")[0]))
    is_ground = np.abs(before - before[2, 2]).max(2) < 30
    assert np.abs(after - before)[eroded(~is_ground)].max() <= 4, "the apple"
    assert after[eroded(is_ground)].mean() < 70, "the night around it"
    assert (np.abs(after - before[2, 2]).max(2) < 30).mean() < 0.01, "nothing blue is left"


def test_every_dialect_of_an_edit_gives_the_same_picture(http: httpx.Client, sdk: OpenAI) -> None:
    expected = edited(http)[0]["b64_json"]
    fields = {"prompt": ORDER, "seed": "1"}
    answers = [
        http.post("/v1/images/edits", data=fields, files={"image": ("upload", RED_ON_BLUE)}),
        http.post("/v1/images/edits", data=fields, files=[("image[]", ("upload", RED_ON_BLUE))]),
        http.post("/v1/images/edits", data={**fields, "image": data_url(RED_ON_BLUE)}),
        http.post("/v1/images/edits", json={"prompt": ORDER, "seed": 1, "image": data_url(RED_ON_BLUE)}),
        http.post(
            "/v1/images/edits", json={"prompt": ORDER, "seed": 1, "images": [{"image_url": data_url(RED_ON_BLUE)}]}
        ),
    ]
    assert [each.json()["data"][0]["b64_json"] for each in answers] == [expected] * len(answers)
    by_list = sdk.images.edit(image=[RED_ON_BLUE], prompt=ORDER, extra_body={"seed": 1})
    assert by_list.data is not None
    assert by_list.data[0].b64_json == expected


def test_strength_goes_from_the_original_to_all_new(http: httpx.Client) -> None:
    original = pixels(RED_ON_BLUE)
    away = [
        float(np.abs(pixels(opened(edited(http, prompt="a green star", strength=s)[0])) - original).mean())
        for s in (0.0, 0.35, 1.0)
    ]
    assert away[0] == 0
    assert 0 < away[1] < away[2]


def test_a_variation_of_strength_0_is_the_original(http: httpx.Client) -> None:
    answer = http.post("/v1/images/variations", json={"image": data_url(RED_ON_BLUE), "strength": 0, "seed": 1})
    assert (pixels(opened(answer.raise_for_status().json()["data"][0])) == pixels(RED_ON_BLUE)).all()


def test_variations_show_the_same_things_elsewhere_on_the_same_ground(http: httpx.Client) -> None:
    body = {"image": data_url(RED_ON_BLUE), "n": 4, "seed": 1}
    answer = http.post("/v1/images/variations", json=body).raise_for_status()
    original, places = pixels(RED_ON_BLUE), set()
    for each in answer.json()["data"]:
        varied = pixels(opened(each))
        is_red = np.abs(varied - original[32, 32]).max(2) < 30
        assert 0.5 < is_red.sum() / (np.abs(original - original[32, 32]).max(2) < 30).sum() < 2
        assert np.abs(varied[2, 2] - original[2, 2]).max() < 10
        places.add(tuple(np.argwhere(is_red).mean(0).round().astype(int)))
    assert len(places) > 1


def test_only_what_the_mask_opens_changes(sdk: OpenAI) -> None:
    answer = sdk.images.edit(
        image=RED_ON_BLUE, mask=half_open(), prompt="a big white square on a green background", extra_body={"seed": 2}
    )
    assert answer.data is not None
    changed, original = pixels(opened(answer.data[0])), pixels(RED_ON_BLUE)
    assert (changed[:, 32:] == original[:, 32:]).all()
    assert np.abs(changed[:, :32] - original[:, :32]).mean() > 20


def test_a_masked_picture_of_any_size_keeps_its_size_and_its_pixels(http: httpx.Client) -> None:
    rng = np.random.default_rng(3)
    picture = Image.fromarray(rng.integers(0, 255, (77, 141, 3)).astype(np.uint8))
    files = {"image": png(picture), "mask": half_open(141, 77)}
    answer = http.post("/v1/images/edits", data={"prompt": ORDER, "steps": "2"}, files=files).raise_for_status().json()
    assert answer["size"] == "141x77"
    assert (pixels(opened(answer["data"][0]))[:, 70:] == pixels(picture)[:, 70:]).all()


def test_without_a_size_the_picture_keeps_its_own_rounded_to_16(http: httpx.Client) -> None:
    picture = Image.open(io.BytesIO(RED_ON_BLUE)).resize((200, 100))
    answer = http.post("/v1/images/edits", data={"prompt": ORDER, "steps": "1"}, files={"image": png(picture)}).json()
    assert answer["size"] == "192x96"
    assert opened(answer["data"][0]).size == (192, 96)


def test_a_picture_lying_on_its_side_is_turned_upright_first(http: httpx.Client) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64), "red").save(buffer, "JPEG", exif=exif)
    answer = http.post("/v1/images/edits", data={"prompt": ORDER, "steps": "1"}, files={"image": buffer.getvalue()})
    assert answer.json()["size"] == "64x128"


def test_picture_i_of_n_is_what_its_seed_alone_gives(http: httpx.Client) -> None:
    both = edited(http, n=2, seed=5, steps=3)
    assert [item["seed"] for item in both] == [5, 6]
    assert both[1]["b64_json"] == edited(http, seed=6, steps=3)[0]["b64_json"]


def test_variations_are_like_the_picture_and_unlike_each_other(sdk: OpenAI) -> None:
    with pytest.deprecated_call():
        answer = sdk.images.create_variation(image=RED_ON_BLUE, n=2, extra_body={"seed": 1})
    assert answer.data is not None
    one, other = (pixels(opened(item)) for item in answer.data)
    assert (one != other).any()
    assert np.abs(one[4, 4] - pixels(RED_ON_BLUE)[4, 4]).max() < 90


def test_a_form_gets_a_url_too(http: httpx.Client) -> None:
    files = {"image": RED_ON_BLUE}
    item = http.post("/v1/images/variations", data={"steps": "1"}, files=files).raise_for_status().json()["data"][0]
    assert httpx.get(item["url"]).content == base64.b64decode(item["b64_json"])


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"image": None}, "missing_required_parameter", "image"),
        ({"image": ""}, "invalid_image", "image"),
        ({"image": "not base64!"}, "invalid_base64", "image"),
        ({"image": base64.b64encode(b"no picture").decode()}, "invalid_image", "image"),
        ({"image": base64.b64encode(SVG).decode()}, "invalid_image", "image"),
        ({"image": base64.b64encode(TRUNCATED).decode()}, "invalid_image", "image"),
        ({"image": base64.b64encode(bomb()).decode()}, "invalid_image", "image"),
        ({"image": [data_url()] * 17}, "array_above_max_length", "image"),
        ({"image": [data_url(), data_url()]}, "unsupported_parameter", "image"),
        ({"images": [{"image_url": data_url()}]}, "invalid_value", "images"),
        ({"image": None, "images": [{"file_id": "file-1"}]}, "missing_required_parameter", "images[0].image_url"),
        ({"image": "http://127.0.0.1:1/x.png"}, "invalid_value", "image"),
        ({"image": "file:///etc/passwd"}, "invalid_value", "image"),
        ({"strength": 1.5}, "integer_above_max_value", "strength"),
        ({"strength": -0.1}, "integer_below_min_value", "strength"),
        ({"strength": "0.5"}, "invalid_type", "strength"),
        ({"mask": data_url(half_open(32, 64))}, "invalid_value", "mask"),
        ({"mask": data_url(png())}, "invalid_image", "mask"),
        ({"size": "100x100"}, "invalid_value", "size"),
        ({"strenght": 0.5}, "unsupported_parameter", "strenght"),
        ({"prompt": None}, "missing_required_parameter", "prompt"),
    ],
)
def test_each_bad_field_of_an_edit_is_a_400_that_names_it(
    http: httpx.Client, fields: dict[str, Any], code: str, param: str
) -> None:
    body = {"prompt": ORDER, "image": data_url(RED_ON_BLUE), **fields}
    assert fault(http.post("/v1/images/edits", json=body)) == (400, code, param)
