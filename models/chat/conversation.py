"""Conversations as chat templates read them: what every engine with a template does before its model runs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from PIL import Image

from models.errors import InvalidImage, InvalidInput
from models.pictures import open_picture
from models.tasks import ImagePart, Message

Turn = dict[str, Any]
"""One message as chat templates read it: {"role", "content": [{"type": "text" | "image", …}]}, for calls of tools also
"tool_calls": [{"id", "type": "function", "function": {"name", "arguments"}}], and for their results "tool_call_id" and
"name"."""
MAX_ASPECT: Final = 200
"""How many times as long as the other a side may be, at most: the limit of Qwen's models, and nothing that is seen."""
_NAME: Final = "atelier_name"
"""Key of an opened picture's `info`: what the caller calls it."""
READS_PICTURES = re.compile(r"vision|visual|image|vq_|_vl\b")
"""Found in the config.json of each of transformers' families that read pictures, and in hardly any other's."""


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

    def broken(text: str) -> str:
        return str(without_control_tokens(text, control_tokens))

    def broken_json(text: str) -> str:
        with suppress(ValueError, RecursionError):  # what is no JSON reaches the template as it is
            value = json.loads(text)
            if (changed := without_control_tokens(value, control_tokens)) != value:
                return json.dumps(changed, ensure_ascii=False)
        return broken(text)

    turns: list[Turn] = []
    called: dict[str, str] = {}
    for i, message in enumerate(messages):
        content: list[dict[str, Any]] = []
        for j, part in enumerate(message.parts):
            if isinstance(part, ImagePart):
                name = part.name or f"messages[{i}].content[{j}]"
                content.append({"type": "image", "image": open_for_chat(part.image, name)})
            elif content and content[-1]["type"] == "text":
                content[-1]["text"] += part.text
            else:
                content.append({"type": "text", "text": part.text})
        for words in content:
            if words["type"] == "text":
                words["text"] = broken(words["text"])
        turn: Turn = {"role": message.role, "content": content}
        if message.calls:
            functions = [{"name": broken(c.name), "arguments": broken_json(c.arguments)} for c in message.calls]
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": function}
                for call, function in zip(message.calls, functions, strict=True)
            ]
            called |= {call.id: function["name"] for call, function in zip(message.calls, functions, strict=True)}
        if message.role == "tool":
            call_id = message.call_id or ""
            turn |= {"tool_call_id": call_id, "name": called.get(call_id, "")}
        turns.append(turn)
    return turns


def without_control_tokens(value: Any, control_tokens: re.Pattern[str]) -> Any:
    """A JSON value in whose texts and names a zero-width space breaks every control token.

    To be used on values, not on JSON text: there a token may be escaped.
    """
    if isinstance(value, str):
        return control_tokens.sub(lambda m: f"{m[0][0]}\u200b{m[0][1:]}", value)
    if isinstance(value, Mapping):
        return {
            without_control_tokens(name, control_tokens): without_control_tokens(each, control_tokens)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [without_control_tokens(each, control_tokens) for each in value]
    return value


def open_for_chat(image: bytes, name: str) -> Image.Image:
    """The picture, which knows its name, for `unreadable`.

    Raises:
        InvalidImage: as `open_picture`; or one side is more than 200 times the other, which chat models do not read.
    """
    picture = open_picture(image, name)
    width, height = picture.size
    if max(width, height) > MAX_ASPECT * min(width, height):
        message = f"{name}: the picture has {width}x{height} pixels; one side may be {MAX_ASPECT} times the other"
        raise InvalidImage(message, name)
    picture.info = {_NAME: name}
    return picture


def pictures_in(turns: Sequence[Turn]) -> list[Image.Image]:
    """The pictures of all turns, in order."""
    return [part["image"] for turn in turns for part in turn["content"] if part["type"] == "image"]


def unreadable(turns: Sequence[Turn], read: Callable[[Image.Image], object]) -> InvalidInput:
    """Why a processor has refused the turns, in our words: the first picture that it does not `read` by itself."""
    pictures = pictures_in(turns)
    for picture in pictures:
        try:
            read(picture)
        except ValueError:
            name = picture.info.get(_NAME)
            width, height = picture.size
            return InvalidImage(
                f"{name}: this model reads no picture of {width}x{height} pixels; allowed is, say, one of 512x512", name
            )
    return InvalidInput(f"this model cannot read these messages with {len(pictures)} pictures together", "messages")


def plain(turns: Sequence[Turn]) -> list[Turn]:
    """The same words for a template that knows users and assistants only, one after the other.

    System words go before those of the user's next turn, or make one; neighbours of one role become one turn.
    """

    def kind(pair: tuple[int, Turn]) -> tuple[str, int]:
        """Calls and their results stay by themselves."""
        i, turn = pair
        role = "user" if turn["role"] == "system" else turn["role"]
        return role, i if role == "tool" or "tool_calls" in turn else -1

    plain: list[Turn] = []
    for (role, alone), group in itertools.groupby(enumerate(turns), key=kind):
        if alone >= 0:
            plain += [turn for _, turn in group]
            continue
        contents = [turn["content"] for _, turn in group if turn["content"]]
        joined = [part for i, content in enumerate(contents) for part in (*_gap(i), *content)]
        plain.append({"role": role, "content": joined})
    return plain


def _gap(index: int) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "\n\n"}] if index else []
