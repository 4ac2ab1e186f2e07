"""Where a model finds what was drawn before, and what it reads of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from deployments.ingress.services.drawn_pictures import drawn_result, images_of, place_drawn
from models.tasks import ImagePart, Message, TextPart


def picture(name: str) -> ImagePart:
    return ImagePart(name.encode(), name)


def said(role: Literal["system", "user", "assistant", "tool"], *names: str) -> Message:
    return Message(role, (*map(picture, names), TextPart("words")))


def drawn(name: str | None) -> Message:
    return drawn_result(f"call-{name}", picture(name) if name is not None else None)


def read(messages: Sequence[Message]) -> list[str]:
    """Each message as its role and what is in it, short."""
    told = []
    for message in place_drawn(messages):
        parts = [part.image.decode() if isinstance(part, ImagePart) else part.text for part in message.parts]
        told.append(f"{message.role}: {', '.join(parts)}")
    return told


def seen(number: int) -> str:
    return f"Done: picture {number}. The user sees it already."


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([said("user"), drawn("red"), said("user")], ["user: words", f"tool: {seen(1)}", "user: red, words"]),
        (
            [said("user", "own"), drawn("red"), drawn("blue"), said("assistant"), said("user", "new")],
            [
                "user: own, words", f"tool: {seen(2)}", f"tool: {seen(3)}", "assistant: words",
                "user: red, blue, new, words",
            ],
        ),
        ([said("user"), drawn("red")], ["user: words", f"tool: {seen(1)}, red"]),
        ([drawn("red"), said("tool")], [f"tool: {seen(1)}, red", "tool: words"]),
        (
            [drawn("red"), said("tool", "green"), said("user")],
            [f"tool: {seen(1)}, red", "tool: green, words", "user: words"],
        ),
        (
            [drawn("red"), said("tool", "green"), drawn("blue"), said("system"), said("user")],
            [f"tool: {seen(1)}, red", "tool: green, words", f"tool: {seen(3)}", "system: words", "user: blue, words"],
        ),
        (
            [drawn(None), drawn("red"), said("user")],
            ["tool: Done. The user has seen the picture.", f"tool: {seen(1)}", "user: red, words"],
        ),
        ([said("user"), said("tool", "green")], ["user: words", "tool: green, words"]),
    ],
)  # fmt: skip
def test_a_drawn_picture_goes_to_the_users_next_message_unless_another_picture_is_between(
    messages: list[Message], expected: list[str]
) -> None:
    assert read(messages) == expected


def test_pictures_keep_the_order_in_which_they_came_and_their_numbers_are_those_of_it() -> None:
    names = ["a", "b", "c", "d", "e"]
    messages = [said("user", "a"), drawn("b"), said("tool", "c"), drawn("d"), said("user", "e"), drawn(None)]
    placed = place_drawn(messages)
    assert [each.image.decode() for each in images_of(placed)] == names
    results = {message.call_id: message.parts[0] for message in placed if message.call_id is not None}
    assert results["call-b"] == TextPart(seen(2))
    assert results["call-d"] == TextPart(seen(4))
    assert place_drawn(placed) == placed
