"""Answers with pictures in them."""

from __future__ import annotations

import asyncio
import base64
import json
import os

import pytest

from deployments.ingress.responses.base64_json import with_base64


@pytest.mark.parametrize("sizes", [[], [0], [1, 2, 3], [786_431, 786_432, 786_433, 2_000_000]])
def test_each_item_has_its_own_picture(sizes: list[int]) -> None:
    pictures = [os.urandom(size) for size in sizes]
    items: list[dict[str, object]] = [{"seed": i} for i in range(len(pictures))]
    answer = json.loads(
        asyncio.run(with_base64({"created": 1, "data": items, "size": "1x1"}, items, "b64_json", pictures))
    )
    assert [item["seed"] for item in answer["data"]] == list(range(len(pictures)))
    assert [base64.b64decode(item["b64_json"], validate=True) for item in answer["data"]] == pictures
    assert answer["size"] == "1x1"
