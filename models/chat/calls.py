"""Calls of tools in what a model writes, found as it is written."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from models.chat.call_formats import UNSAID, CallFormat
from models.tasks import CallDelta, ChatJob, Tool, ToolCall

_ID_LETTERS: Final = string.ascii_letters + string.digits
_HEAD: Final = re.compile(r'[\[, ]*\{"name": "([A-Za-z0-9_.-]+)", "arguments": ')

Piece = tuple[str, tuple[CallDelta, ...]]
"""Text of the answer, and what comes of its calls."""


def new_call_id() -> str:
    """Nine letters and digits: what Mistral's templates insist on, and every client takes."""
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(9))


def whole_calls(pieces: Sequence[CallDelta]) -> tuple[ToolCall, ...]:
    """The calls that pieces in their order make."""
    calls: dict[int, ToolCall] = {}
    for piece in pieces:
        before = calls.get(piece.index) or ToolCall(piece.id or "", piece.name or "", "")
        calls[piece.index] = ToolCall(before.id, before.name, before.arguments + piece.arguments)
    return tuple(calls.values())


def json_arguments(arguments: Mapping[str, Any]) -> str:
    """The arguments of a call as models write them."""
    return json.dumps(arguments, ensure_ascii=False)


class CallReader(Protocol):
    """Takes an answer apart.

    Once it has given a piece of a call, `has_called` is true. `markers` are texts that it wants to see though they are
    special tokens.
    """

    has_called: bool
    markers: tuple[str, ...]

    def push(self, text: str) -> Piece:
        """What is certain after some more text."""

    def finish(self) -> Piece:
        """What was held back."""


def reader_for(job: ChatJob, call_format: CallFormat | None) -> CallReader | None:
    """How the answer to a job is read; None where there can be no call in it."""
    if len(job.must_call) == 1 and not job.calls_several:
        return ArgumentsReader(job.must_call[0])
    if job.must_call:
        return HeldCallsReader()
    return MarkedCallsReader(call_format, job.tools) if job.tools and call_format and job.form is None else None


class ArgumentsReader:
    """Of an answer that is the arguments of one call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.has_called = False
        self.markers: tuple[str, ...] = ()

    def push(self, text: str) -> Piece:
        """What is certain after some more text."""
        if not text:
            return "", ()
        begun, self.has_called = self.has_called, True
        if begun:
            return "", (CallDelta(0, text),)
        return "", (CallDelta(0, "", new_call_id(), self._name), CallDelta(0, text))

    def finish(self) -> Piece:
        """Nothing is held back."""
        return "", ()


class HeldCallsReader:
    """Of an answer that a grammar has held to calls (`models.chat.forms.calls_grammar`)."""

    def __init__(self) -> None:
        self.has_called = False
        self.markers: tuple[str, ...] = ()
        self._index = -1
        self._head = ""
        self._depth: int | None = None  # brackets that are open in the arguments; None between two calls
        self._in_text = self._escaped = False

    def push(self, text: str) -> Piece:
        """What is certain after some more text."""
        pieces: list[CallDelta] = []
        arguments = ""
        for character in text:
            if self._depth is None:
                pieces += self._begun(character)
            elif self._ends_at(character):
                if arguments:
                    pieces.append(CallDelta(self._index, arguments))
                arguments, self._depth = "", None
            else:
                arguments += character
        if arguments:
            pieces.append(CallDelta(self._index, arguments))
        return "", tuple(pieces)

    def finish(self) -> Piece:
        """Nothing is held back that a call could be made of."""
        return "", ()

    def _begun(self, character: str) -> list[CallDelta]:
        self._head += character
        if not (head := _HEAD.fullmatch(self._head)):
            return []
        self._head, self._depth, self.has_called = "", 0, True
        self._index += 1
        return [CallDelta(self._index, "", new_call_id(), head[1])]

    def _ends_at(self, character: str) -> bool:
        """Whether this is the bracket behind the arguments, not in them."""
        assert self._depth is not None
        if self._in_text:
            if self._escaped or character == "\\":
                self._escaped = not self._escaped
            elif character == '"':
                self._in_text = False
        elif character == '"':
            self._in_text = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
        return self._depth < 0


class MarkedCallsReader:
    """Of an answer in which calls may stand, marked in the way of the model's family.

    What looks like a call and is none, or calls what was not offered, stays text.
    """

    def __init__(self, call_format: CallFormat, tools: Sequence[Tool]) -> None:
        self._format, self._tools = call_format, tools
        self._names = {tool.name for tool in tools}
        self.has_called = False
        self.markers = call_format.markers
        self._index = 0
        self._blank = ""
        self._begin()

    def push(self, text: str) -> Piece:
        """What is certain after some more text."""
        said: list[str] = []
        calls: list[CallDelta] = []
        for character in text:  # one by one: a parser that fails has told nothing of what it read before
            self._raw += character
            try:
                self._follow(self._parser.feed(character), said, calls, character)
            except _NO_CALL:
                said.append(self._raw)
                self._begin()
        return self._without_gaps("".join(said)), tuple(calls)

    def finish(self) -> Piece:
        """What was held back."""
        said: list[str] = []
        calls: list[CallDelta] = []
        try:
            self._follow(self._parser.finalize()[1], said, calls, "")
        except _NO_CALL:
            said.append(self._raw)
        return self._without_gaps("".join(said)), tuple(calls)

    def _begin(self) -> None:
        self._parser = self._format.parser([described(tool) for tool in self._tools])
        self._raw = ""  # what has been read and is neither told nor part of a call yet

    def _follow(
        self, events: Sequence[Mapping[str, Any]], said: list[str], calls: list[CallDelta], character: str
    ) -> None:
        for event in events:
            is_call = event["field"] == "tool_calls"
            if event["type"] == "region_chunk" and not is_call and event["field"] != UNSAID:
                said.append(event["text"])
                self._raw = self._raw.removeprefix(event["text"])
            elif event["type"] == "region_close" and is_call:
                calls += self._pieces(event["value"])
                self._raw = character if self._format.closes_late else ""

    def _pieces(self, value: Any) -> list[CallDelta]:
        pieces = []
        for each in value if isinstance(value, list) else [value]:
            called = each["function"]
            name, arguments = called["name"], called.get("arguments", called.get("parameters", {}))
            if isinstance(arguments, str):
                arguments = json.loads(arguments)
            if name not in self._names or not isinstance(arguments, dict):
                raise ValueError
            pieces.append((name, json.dumps(arguments, ensure_ascii=False)))
        told: list[CallDelta] = []
        for name, arguments in pieces:
            told += [CallDelta(self._index, "", new_call_id(), name), CallDelta(self._index, arguments)]
            self._index, self.has_called = self._index + 1, True
        return told

    def _without_gaps(self, text: str) -> str:
        """The text, without the white space between calls and behind the last one."""
        if not self.has_called or not text:
            return text
        text, self._blank = self._blank + text, ""
        if not text.strip():
            self._blank, text = text, ""
        return text


_NO_CALL: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What is raised where the JSON of a call is none, has another shape, or a depth that nobody needs."""


def described(tool: Tool) -> dict[str, Any]:
    """A tool as chat templates and OpenAI's API describe it."""
    function: dict[str, Any] = {"name": tool.name, "description": tool.description or ""}
    return {"type": "function", "function": {**function, "parameters": dict(tool.parameters)}}
