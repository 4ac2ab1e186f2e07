"""Which tool of the server a message calls for, where the chat model's template takes none.

A small model beside the chat model (`models/builtin/calls`, made by `training.calls`) reads the last message: which
tool it calls for, if any, and which of its words the tool gets. The chat model then writes the call, held by a grammar
to these words, as it writes every call that it has to make.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from models.chat.calls import json_arguments
from models.checkpoints import local_folder
from models.tasks import ChatJob, ImagePart, Message, TextPart, Tool

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

TOOLS: Final[Mapping[str, str]] = {"generate_image": "prompt", "edit_image": "prompt", "speak": "text"}
"""The tools that are known, and the argument that each gets."""
CHECKPOINT: Final = "builtin:calls"
_MAX_TOKENS: Final = 384
_AROUND: Final = 32
"""Tokens of a call beside the words that it copies."""
_ERROR: Final = "Error"
"""How the result of a call begins that came to nothing."""
_DONE: Final = {"en": "Here it is.", "ko": "여기 있어요.", "ja": "できました。"}
_NOT_DONE: Final = {"en": "That did not work.", "ko": "그건 되지 않았어요.", "ja": "うまくいきませんでした。"}
_HANGUL: Final = re.compile("[\uac00-\ud7a3]")
_JAPANESE: Final = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")


def decided(job: ChatJob) -> ChatJob:
    """The job for a model that takes no tools: one that must call this tool with these words, or may call none.

    After the result of such a call the answer is a short sentence. A job that says itself what has to be called, or
    what form the answer has, stays as it is.
    """
    known = {tool.name: tool for tool in job.tools if _argument(tool) is not None}
    if not known or job.must_call or job.form is not None or not job.messages:
        return job
    rest = replace(
        job,
        tools=tuple(tool for tool in job.tools if tool.name not in known),
        messages=tuple(_without_calls(job.messages)),
    )
    last = job.messages[-1]
    if last.role == "tool":
        failed = _words(last).startswith(_ERROR)
        return replace(rest, form=((_NOT_DONE if failed else _DONE)[_language(job.messages)],))
    if last.role != "user":
        return rest
    has_picture = _has_picture(job.messages)
    name, words = _head().read(_words(last), has_picture=has_picture, allowed=known)
    if name is None:
        return rest
    tool = known[name]
    argument = TOOLS[name]
    copied = {"type": "object", "properties": {argument: {"const": words}}, "required": [argument]}
    room = len(json_arguments({argument: words}).encode()) + _AROUND  # a token for each byte, at most
    return replace(
        rest,
        tools=(replace(tool, parameters={**copied, "additionalProperties": False}),),
        must_call=(name,),
        calls_several=False,
        max_tokens=max(job.max_tokens, room),
    )


class _Head:
    """The model and its tokenizer."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._labels: dict[int, str] = model.config.id2label

    def read(self, text: str, *, has_picture: bool, allowed: Mapping[str, Tool]) -> tuple[str | None, str]:
        """The tool that a message calls for, and the words that it gets."""
        import torch

        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        first = self._tokenizer.token_to_id("[PICTURE]" if has_picture else "[NO PICTURE]")
        offsets = encoding.offsets[:_MAX_TOKENS]
        with torch.inference_mode():
            ids = torch.tensor([[first, *encoding.ids[:_MAX_TOKENS]]])
            scores: torch.Tensor = self._model(input_ids=ids).logits[0]
        label = int(scores[0].argmax())
        if (name := self._labels[label]) not in allowed:
            return None, ""
        inside = [pair for pair, row in zip(offsets, scores[1:], strict=True) if row[label] > row[0]]
        if not inside:
            return name, text.strip()
        is_cut = len(encoding.ids) > _MAX_TOKENS and inside[-1] == offsets[-1]
        words = text[inside[0][0] : None if is_cut else inside[-1][1]].strip()
        return name, words or text.strip()


@cache
def _head() -> _Head:
    """The model, read when the first message asks for it: 2 MB."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForTokenClassification

    folder = local_folder(CHECKPOINT)
    assert folder is not None
    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    return _Head(model, Tokenizer.from_file(str(folder / "tokenizer.json")))


def _argument(tool: Tool) -> str | None:
    """The argument of a known tool, if this one has it as the server's own does."""
    argument = TOOLS.get(tool.name)
    properties = tool.parameters.get("properties", {})
    known = argument is not None and isinstance(properties, Mapping) and argument in properties
    return argument if known and set(tool.parameters.get("required", ())) <= {argument} else None


def _without_calls(messages: Sequence[Message]) -> Iterator[Message]:
    """The messages without what such a model has never seen: calls of the known tools, and their results.

    Pictures in those results are the user's.
    """
    dropped: set[str | None] = set()
    for message in messages:
        dropped |= {call.id for call in message.calls if call.name in TOOLS}
        calls = tuple(call for call in message.calls if call.name not in TOOLS)
        if message.role == "tool" and message.call_id in dropped:
            if pictures := tuple(part for part in message.parts if isinstance(part, ImagePart)):
                yield Message("user", pictures)
        elif calls or message.parts or not message.calls:
            yield replace(message, calls=calls)


def _words(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, TextPart))


def _has_picture(messages: Sequence[Message]) -> bool:
    """Whether a picture was sent, or drawn, before."""
    drawn = any(call.name in ("generate_image", "edit_image") for each in messages for call in each.calls)
    return drawn or any(isinstance(part, ImagePart) for each in messages for part in each.parts)


def _language(messages: Sequence[Message]) -> str:
    """Of the last words of the user."""
    words = next((_words(each) for each in reversed(messages) if each.role == "user"), "")
    if _HANGUL.search(words):
        return "ko"
    return "ja" if _JAPANESE.search(words) else "en"
