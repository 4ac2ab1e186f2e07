"""Text out of tokens: whole characters, stop texts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chat.engines.vlm import TransformersVlmEngine
from models.chat.streaming import TokenText

KOREAN = "빨간색 원이 왼쪽에 있어요. 👩‍🎨 赤い円です"


def bytes_as_text(tokens: list[int]) -> str:
    """The tokenizer in which each byte is a token."""
    return bytes(tokens).decode("utf-8", errors="replace")


def pieces(tokens: Sequence[int], stop: Sequence[str] = ()) -> list[str]:
    text = TokenText(bytes_as_text, stop)
    return [*(text.push(token) for token in tokens), text.finish()]


def test_characters_split_into_bytes_come_out_whole() -> None:
    out = pieces(KOREAN.encode())
    assert "".join(out) == KOREAN
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in out)


def test_each_character_comes_with_its_last_byte() -> None:
    assert pieces("a원b".encode()) == ["a", "", "", "원", "b", ""]


def test_a_character_that_is_never_finished_is_left_out() -> None:
    assert "".join(pieces("원".encode()[:2])) == ""
    assert "".join(pieces("ab원".encode()[:-1])) == "ab"


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("one STOP two", ["STOP"], "one "),
        ("one STO", ["STOP"], "one STO"),
        ("one STSTOP", ["STOP"], "one ST"),
        ("aab", ["ab"], "a"),
        ("stop", ["stop"], ""),
        ("빨간 원, 파란 원", ["원"], "빨간 "),
        ("x\n\ny", ["\n\n", "y"], "x"),
        ("nothing to cut", ["STOP", "cut!"], "nothing to cut"),
        ("anything", [""], "anything"),
    ],
)
def test_text_ends_before_a_stop_text(text: str, stop: list[str], left: str) -> None:
    assert "".join(pieces(text.encode(), stop)) == left


def test_the_beginning_of_a_stop_text_is_held_back_until_it_is_sure() -> None:
    assert pieces(b"a<x", ["<end>"]) == ["a", "", "<x", ""]


def test_a_met_stop_text_is_reported() -> None:
    text = TokenText(bytes_as_text, ["b"])
    assert [text.push(token) for token in b"abc"] == ["a", "", ""]
    assert text.stopped
    assert text.finish() == ""


@given(text=st.text("abc원🎨", max_size=20), stop=st.lists(st.text("abc원", min_size=1, max_size=3), max_size=3))
def test_any_text_ends_before_the_first_stop_text_that_is_complete(text: str, stop: list[str]) -> None:
    complete = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stop))] if stop else []
    left = text
    if complete:
        left = text[: complete[0] - max(len(s) for s in stop if text[: complete[0]].endswith(s))]
    out = pieces(text.encode(), stop)
    assert "".join(out) == left


def test_a_real_tokenizer_gives_korean_back_whole(vlm: TransformersVlmEngine) -> None:
    tokenizer = vlm._processor.tokenizer
    tokens = tokenizer.encode(KOREAN, add_special_tokens=False)
    assert len(tokens) > len(KOREAN)
    text = TokenText(tokenizer.decode)
    out = [*(text.push(token) for token in tokens), text.finish()]
    assert "".join(out) == KOREAN
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in out)
