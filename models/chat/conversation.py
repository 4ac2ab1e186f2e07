"""Conversations as chat templates read them: what every engine with a template does before its model runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from models.errors import InvalidInput
from models.pictures import open_picture
from models.tasks import ImagePart, Message, TextPart

T = TypeVar("T")
Turn = dict[str, Any]
"""One message as chat templates read it: {"role", "content": [{"type": "text" | "image", …}]}."""
READS_PICTURES = re.compile(r"vision|visual|image|vq_|_vl\b")
"""Found in the config.json of each of transformers' families that read pictures, and in hardly any other's."""


def rendered(render: Callable[[Sequence[Turn]], T], turns: Sequence[Turn], *, drops_system: bool) -> T:
    """What `render` makes of the turns by a chat template, in a plainer form where the template needs one.

    Raises:
        InvalidInput: the template refuses the conversation either way.
    """
    from jinja2.exceptions import TemplateError

    if drops_system:
        turns = plain(turns)
    try:
        try:
            return render(turns)
        except TemplateError:  # a template that wants users and assistants in turn, and nobody else
            return render(plain(turns))
    except TemplateError as error:
        raise InvalidInput(f"this model's chat template refuses the conversation: {error}", "messages") from error


def drops_system(render: Callable[[Sequence[Turn]], str]) -> bool:
    """Whether a chat template leaves system messages out, or refuses them."""
    from jinja2.exceptions import TemplateError

    probe = [Message("system", (TextPart("Zq7"),)), Message("user", (TextPart("a"),))]
    try:
        return "Zq7" not in render(turns_of(probe, re.compile(r"(?!)")))
    except TemplateError:
        return True


def room_after(read: int, context: int) -> int:
    """How many tokens may be written after a prompt of `read`, by a model that holds `context`.

    Raises:
        InvalidInput: none.
    """
    if read >= context:
        raise InvalidInput(
            f"the messages are {read} tokens long, pictures included; this model reads at most {context - 1}",
            "messages",
            "context_length_exceeded",
        )
    return context - read


def turns_of(messages: Sequence[Message], control_tokens: re.Pattern[str]) -> list[Turn]:
    """The messages for a chat template, pictures decoded, neighbouring texts joined as templates do.

    What a caller writes is never a control token: `<|im_end|>` or an image placeholder in a text would end the turn,
    or stand for a picture that is not there. A zero-width space breaks it.
    """
    turns: list[Turn] = []
    for i, message in enumerate(messages):
        content: list[dict[str, Any]] = []
        for j, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                name = part.name or f"messages[{i}].content[{j}]"
                content.append({"type": "image", "image": open_picture(part.image, name)})
            elif content and content[-1]["type"] == "text":
                content[-1]["text"] += part.text
            else:
                content.append({"type": "text", "text": part.text})
        for words in content:
            if words["type"] == "text":
                words["text"] = control_tokens.sub(lambda m: f"{m[0][0]}\u200b{m[0][1:]}", words["text"])
        turns.append({"role": message.role, "content": content})
    return turns


def plain(turns: Sequence[Turn]) -> list[Turn]:
    """The same words for a template that knows users and assistants only, one after the other.

    System words go before those of the user's next turn, or make one; neighbours of one role become one turn.
    """
    roles = [("user" if turn["role"] == "system" else turn["role"], turn["content"]) for turn in turns]
    plain: list[Turn] = []
    for role, group in itertools.groupby(roles, key=lambda pair: pair[0]):
        contents = [content for _, content in group if content]
        joined = [part for i, content in enumerate(contents) for part in (*_gap(i), *content)]
        plain.append({"role": role, "content": joined})
    return plain


def _gap(index: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "\n\n"}] if index else []
