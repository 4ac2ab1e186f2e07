"""Token ids of OpenAI's embeddings are turned back into the text that they were made of."""

from __future__ import annotations

import pytest

from deployments.ingress.errors import ApiError
from deployments.ingress.requests.token_ids import text_of


@pytest.mark.parametrize(
    ("ids", "text"),
    [  # what tiktoken's cl100k_base makes of them
        ([64, 2579, 12960, 5251, 117, 101, 63375, 86513, 238], "a red circle 빨간 원"),
        ([9906, 11, 1917, 0], "Hello, world!"),
        ([0], "!"),
        ([5251, 117], " \ufffd"),
        ([100_255], " Conveyor"),
        ([], ""),
    ],
)
def test_ids_are_the_text_that_they_were_made_of(ids: list[int], text: str) -> None:
    assert text_of(ids, "input") == text


@pytest.mark.parametrize("wrong", [-1, 100_256, 100_257, 2**70])
def test_an_id_of_no_text_is_refused_by_its_place(wrong: int) -> None:
    with pytest.raises(ApiError) as caught:
        text_of([0, wrong], "input[3]")
    assert (caught.value.status, caught.value.param) == (400, "input[3][1]")
    assert str(wrong) in caught.value.message
