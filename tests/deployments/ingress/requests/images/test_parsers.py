"""What the picture routes read, whatever is sent: Hypothesis chooses the requests."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.ingress.errors import ApiError
from deployments.ingress.requests.body import Fields, Upload
from deployments.ingress.schemas.images import (
    Edit,
    Generation,
    OnePicture,
    Process,
    StoredPicture,
)
from tests.deployments.ingress.requests.images.bodies import (
    MODELS,
    TEXT,
    VALID,
    as_form,
    as_json,
    bounded,
    form_pairs,
    requests,
    sent,
)


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
