"""What is said of pictures that a model's processor refuses."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from models.chat.conversation import MAX_ASPECT, turns_of, unreadable
from models.errors import InvalidImage, InvalidInput
from models.pictures import encode
from models.tasks import ImagePart, Message, TextPart

NO_TOKENS = re.compile(r"(?!)")


def message(*sizes: tuple[int, int]) -> Message:
    return Message("user", (TextPart("What?"), *(ImagePart(encode(Image.new("RGB", size))) for size in sizes)))


@pytest.mark.parametrize("size", [(1, 8000), (8000, 1), (2, 2 * MAX_ASPECT + 1)])
def test_a_line_is_refused_with_its_name_its_size_and_what_is_allowed(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage) as caught:
        turns_of([message((64, 64), size)], NO_TOKENS)
    assert caught.value.param == "messages[0].content[2]"
    for said in ("messages[0].content[2]", f"{size[0]}x{size[1]}", f"{MAX_ASPECT} times"):
        assert said in str(caught.value)


def test_a_picture_that_is_nearly_a_line_is_taken() -> None:
    turns_of([message((2, 2 * MAX_ASPECT))], NO_TOKENS)


def test_what_a_processor_refuses_is_said_in_our_words() -> None:
    def read(picture: Image.Image) -> None:
        if picture.size == (99, 98):
            raise ValueError("a text of the library")

    turns = turns_of([message((64, 64)), message((64, 64), (99, 98))], NO_TOKENS)
    refused = unreadable(turns, read)
    assert isinstance(refused, InvalidImage)
    assert refused.param == "messages[1].content[2]"
    assert "99x98" in refused.message
    assert "512x512" in refused.message
    together = unreadable(turns[:1], read)
    assert type(together) is InvalidInput
    assert "library" not in f"{refused} {together}"
