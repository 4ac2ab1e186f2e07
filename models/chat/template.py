"""What a chat template takes: found out by trying, since templates do not say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from models.chat.call_formats import CallFormat, family_of, own_format
from models.chat.calls import MarkedCallsReader, described
from models.chat.conversation import Turn, plain, without_control_tokens
from models.errors import InvalidInput
from models.tasks import Tool

T = TypeVar("T")
Render = Callable[..., str]
"""`render(turns, tools, add_generation_prompt=…)`: the text of a conversation, by the template."""

_PROBE: Final = Tool("zq7_find", "Zq8", {"type": "object", "properties": {"zq9": {"type": "string"}}})
_ASKED: Final[Turn] = {"role": "user", "content": [{"type": "text", "text": "a"}]}
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


@dataclass(frozen=True)
class Template:
    """What a chat template does with messages and tools.

    `call_format` is how its model writes calls of tools, None where it knows no tools. `takes_strings`: a message may
    be a text instead of parts. `wants_text`: arguments are JSON text, not an object.
    """

    drops_system: bool = False
    call_format: CallFormat | None = None
    takes_strings: bool = False
    wants_text: bool = False

    def rendered(
        self, render: Callable[[Sequence[Turn], list[Any] | None], T], turns: Sequence[Turn], tools: list[Any] | None
    ) -> T:
        """What `render` makes of the turns, in a plainer form where the template needs one, and of the tools.

        Raises:
            InvalidInput: the template refuses the conversation in every form, or would take it without these tools.
        """

        def told(tools: list[Any] | None) -> T:
            return self.tried(lambda turns: render(turns, tools), turns, _refusals())

        refusals: tuple[type[Exception], ...] = (InvalidInput, *_refusals())
        try:
            return told(tools)
        except refusals as refused:
            if not tools:
                raise
            try:
                told(None)
            except refusals:
                raise refused from refused.__cause__
            said = refused.__cause__ or refused
            raise InvalidInput(f"this model's chat template refuses the tools: {said}", "tools") from refused

    def tried(
        self, render: Callable[[Sequence[Turn]], T], turns: Sequence[Turn], refusals: tuple[type[Exception], ...]
    ) -> T:
        """As `rendered`, where any of `refusals` has the next form tried."""
        from jinja2.exceptions import TemplateError

        told = self._told(turns)
        forms = [told, plain(told), plain(untold(turns))]
        refused: Exception | None = None
        for form in forms[1:] if self.drops_system else forms:
            try:
                return render(form)
            except refusals as error:  # of roles that do not take turns, several calls at once, or bad arguments
                refused = refused or error
        if refused is not None and not isinstance(refused, TemplateError):
            raise refused
        raise InvalidInput(f"this model's chat template refuses the conversation: {refused}", "messages") from refused

    def _told(self, turns: Sequence[Turn]) -> list[Turn]:
        """The turns as the template reads calls and their results."""
        if self.call_format is None:
            return untold(turns)
        told: list[Turn] = []
        for turn in turns:
            turn = dict(turn)
            if ("tool_calls" in turn or turn["role"] == "tool") and self.takes_strings:
                turn["content"] = _as_string(turn["content"])
            if "tool_calls" in turn:
                turn["tool_calls"] = [self._call(call) for call in turn["tool_calls"]]
            if "tool_call_id" in turn:
                turn["tool_call_id"] = _short(turn["tool_call_id"])
            told.append(turn)
        return told

    def _call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        function = dict(call["function"])
        if not self.wants_text:
            with suppress(ValueError, RecursionError):  # what a model wrote badly is shown to it as it was
                function["arguments"] = json.loads(function["arguments"] or "{}")
        return {**call, "id": _short(call["id"]), "function": function}


def probed(render: Render, special: Sequence[str], response_template: Mapping[str, Any] | None = None) -> Template:
    """What a template does. `special` are the texts of special tokens; `response_template` is the tokenizer's own."""
    from jinja2.exceptions import TemplateError

    system = {"role": "system", "content": [{"type": "text", "text": "Zq6"}]}
    try:
        drops_system = "Zq6" not in render([system, _ASKED], None, add_generation_prompt=True)
    except TemplateError:
        drops_system = True
    template = Template(drops_system, takes_strings=_takes_strings(render))
    if not _tells(render, _PROBE.name):
        return template
    for wants_text in (False, True):
        found = _format_of(render, replace(template, wants_text=wants_text), special, response_template)
        if found is not None:
            return replace(template, call_format=found, wants_text=wants_text)
    return template


def told_tools(tools: Sequence[Tool], template: Template, control_tokens: re.Pattern[str]) -> list[Any] | None:
    """The tools as the template reads them, without control tokens; None where it gets none."""
    if not tools or template.call_format is None:
        return None
    return [without_control_tokens(described(tool), control_tokens) for tool in tools]


def _refusals() -> tuple[type[Exception], ...]:
    """What a template raises where it gets something that it does not know."""
    from jinja2.exceptions import TemplateError

    return TemplateError, TypeError, LookupError, AttributeError


def untold(turns: Sequence[Turn]) -> list[Turn]:
    """The turns for a template that knows no tools: calls are words of the assistant, results those of the user."""
    plainer: list[Turn] = []
    for turn in turns:
        content = list(turn["content"])
        for call in turn.get("tool_calls", ()):
            function = call["function"]
            said = f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"] or "{}"}}}'
            content.append({"type": "text", "text": f"\n{said}" if content else said})
        plainer.append({"role": "user" if turn["role"] == "tool" else turn["role"], "content": content})
    return plainer


def _takes_strings(render: Render) -> bool:
    try:
        return "Zq6 and" in render([{"role": "user", "content": "Zq6 and"}], None, add_generation_prompt=True)
    except _refusals():
        return False


def _tells(render: Render, name: str) -> bool:
    try:
        return name in render([_ASKED], [described(_PROBE)], add_generation_prompt=True)
    except _refusals():
        return False


def _format_of(
    render: Render, template: Template, special: Sequence[str], response_template: Mapping[str, Any] | None
) -> CallFormat | None:
    """The format in which the template writes a call of the probe."""
    from jinja2.exceptions import TemplateError

    call = {"id": "zq0123456", "type": "function", "function": {"name": _PROBE.name, "arguments": '{"zq9": "Zq5"}'}}
    turn = {"role": "assistant", "content": [], "tool_calls": [call]}
    tools = [described(_PROBE)]
    anything = replace(template, call_format=CallFormat("any"))
    try:
        written = anything.tried(
            lambda turns: render(turns, tools, add_generation_prompt=False), [_ASKED, turn], (TemplateError,)
        )
        before = render([_ASKED], tools, add_generation_prompt=True)
        if not written.startswith(before):
            before = render([_ASKED], tools, add_generation_prompt=False)
    except InvalidInput:
        return None
    except _refusals():
        return None
    written = written.removeprefix(before)

    def finds(call_format: CallFormat) -> bool:
        dropped = [text for text in special if text not in call_format.markers]
        reader = MarkedCallsReader(call_format, [_PROBE])
        text = re.sub("|".join(map(re.escape, dropped)) or r"(?!)", "", written) if call_format.region else written
        pieces = [*reader.push(text)[1], *reader.finish()[1]]
        return "".join(piece.arguments for piece in pieces) == '{"zq9": "Zq5"}'

    own = None if response_template is None else own_format(response_template, tuple(special))
    return own if own is not None and finds(own) else family_of(finds)


def _as_string(content: Any) -> Any:
    """Parts that are all words, as one text."""
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content)
    return content


def _short(call_id: str) -> str:
    """An id of nine letters and digits, which is all that Mistral's templates take."""
    return call_id if _SHORT_ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]
