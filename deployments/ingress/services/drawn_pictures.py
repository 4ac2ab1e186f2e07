"""Pictures that were drawn earlier in a conversation, where a chat model looks for them and can name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployments.ingress.services.server_tools import OLD_PICTURE, shown_picture
from models.tasks import ImagePart, Message, TextPart


@dataclass(frozen=True)
class DrawnResult(Message):
    """The result of a call that drew. Its one part is the picture; it has none where the model sees it no more."""


def drawn_result(call_id: str, picture: ImagePart | None) -> DrawnResult:
    """The result of a call, before `place_drawn` has put its picture into words."""
    return DrawnResult("tool", () if picture is None else (picture,), call_id=call_id)


def images_of(messages: Sequence[Message]) -> list[ImagePart]:
    """All pictures of messages, in order."""
    return [part for message in messages for part in message.parts if isinstance(part, ImagePart)]


def place_drawn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with what was drawn in the user's next one, and which picture it is in the result of its call.

    Few chat templates have a place for pictures in the result of a call. All pictures stay in the order in which they
    came, by which `edit_image` counts them: what was drawn stays in its result where no message of the user follows, or
    another message with pictures comes before that.
    """
    told: list[Message] = []
    waiting: list[ImagePart] = []
    count = 0
    for message, moves in zip(messages, _are_followed_by_the_user(messages), strict=True):
        pictures = images_of([message])
        count += len(pictures)
        if isinstance(message, DrawnResult):
            said = TextPart(shown_picture(count) if pictures else OLD_PICTURE)
            told.append(Message("tool", (said, *(() if moves else pictures)), call_id=message.call_id))
            waiting += pictures if moves else []
        elif message.role == "user" and waiting:
            told.append(replace(message, parts=(*waiting, *message.parts)))
            waiting = []
        else:
            told.append(message)
    return tuple(told)


def _are_followed_by_the_user(messages: Sequence[Message]) -> list[bool]:
    """Of each message whether the user's next one comes before any other with pictures, but for what was drawn."""
    followed: list[bool] = []
    is_user_next = False
    for message in reversed(messages):
        followed.append(is_user_next)
        if message.role == "user":
            is_user_next = True
        elif images_of([message]) and not isinstance(message, DrawnResult):
            is_user_next = False
    return followed[::-1]
