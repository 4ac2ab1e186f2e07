"""Answers of a given form: which tokens may come next (llguidance). Knows tokenizers, but no model and no tensors.

A form is a JSON schema, a tuple of texts (`models.tasks.ChatJob.form`), or calls of tools. Regular expressions in a
schema are matched by llguidance's own engine, in time linear in the text, so a caller's pattern cannot hold a process
up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from models.chat.closing import Closing
from models.chat.forms import STYLE, bounded, calls_grammar
from models.chat.vocabulary import Mask, Vocabulary
from models.errors import InvalidInput
from models.tasks import ChatJob, Tool


@dataclass(frozen=True)
class ToolCalls:
    """Calls of tools, one, or up to eight where it may be `several`."""

    tools: tuple[Tool, ...]
    several: bool = False


Form = Mapping[str, Any] | tuple[str, ...] | ToolCalls

_LONGEST = 200_000
_LARGEST_MULTIPLE = 100_000
_USUAL_ROOM = 4096


def form_of(job: ChatJob) -> Form | None:
    """What the answer to a job is held to; None where it is free."""
    if job.must_call:
        return ToolCalls(tuple(tool for tool in job.tools if tool.name in job.must_call), bool(job.calls_several))
    return job.form


class Grammar:
    """One answer of a form, as it is written."""

    def __init__(self, vocabulary: Vocabulary, form: Form, room: int = _USUAL_ROOM) -> None:
        """`room`: how many tokens there are, in which the answer ends.

        Raises:
            InvalidInput: see `check`.
        """
        from llguidance import LLMatcher

        self._matcher = LLMatcher(vocabulary.tokens, _compiled(form, room))
        if self._matcher.is_error():
            raise InvalidInput(_why(self._matcher.get_error()), code="invalid_schema")
        self._vocabulary = vocabulary
        self._closing = None if isinstance(form, tuple) else Closing(vocabulary, room)

    def allowed(self) -> Mask:
        """Which tokens of the vocabulary may come next; the end tokens among them once the answer may end.

        Raises:
            InvalidInput: nothing may, not even the end.
        """
        allowed = self._vocabulary.allowed_by(self._matcher)
        if self._matcher.is_error():
            raise InvalidInput("no answer can satisfy it", code="invalid_schema")
        return allowed if self._closing is None else self._closing.narrowed(self._matcher, allowed)

    def accept(self, token: int) -> None:
        """Go on after an allowed token."""
        self._matcher.consume_token(token)
        if self._closing is not None:
            self._closing.accept(token)


def check(form: Form) -> None:
    """Refuse a form that no answer can have, or that uses words of JSON Schema which are not known here.

    Raises:
        InvalidInput: the message says what is wrong; it names no field, since callers write forms into several.
    """
    from llguidance import LLMatcher

    if wrong := LLMatcher.validate_grammar(_compiled(form, _USUAL_ROOM)):
        raise InvalidInput(_why(wrong), code="invalid_schema")
    matcher = LLMatcher(_bytes(), _compiled(form, _USUAL_ROOM))
    matcher.compute_bitmask()
    if matcher.is_error():
        raise InvalidInput("no answer can satisfy it", code="invalid_schema")


def satisfies(schema: Mapping[str, Any], value: Any) -> bool:
    """Whether a JSON value fits a schema, its properties in the schema's order.

    Time and memory are linear in the value, whatever the schema says; a validator that follows references and patterns
    as they are written can be made to run for ever by their author.
    """
    from llguidance import LLMatcher

    vocabulary = _bytes()
    matcher = LLMatcher(vocabulary, _of_schema(schema))
    tokens = vocabulary.tokenize_str(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


def _compiled(form: Form, room: int) -> str:
    from llguidance import LLMatcher

    match form:
        case tuple():
            return str(LLMatcher.grammar_from_lark(f"start: {' | '.join(map(json.dumps, form))}"))
        case ToolCalls():
            for tool in form.tools:
                _of_schema(tool.parameters)
            return str(LLMatcher.grammar_from_lark(calls_grammar(form.tools, room, several=form.several)))
        case _:
            _of_schema(form)  # before it is walked through
            return _of_schema(bounded(form, room))


def _of_schema(schema: Mapping[str, Any]) -> str:
    from llguidance import LLMatcher

    try:
        text = json.dumps(schema)
        if len(text) > _LONGEST:
            raise InvalidInput(f"{len(text)} characters; at most {_LONGEST} are read", code="invalid_schema")
        _refuse_large_multiples(schema)
        return str(LLMatcher.grammar_from_json_schema(text, defaults=STYLE))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(_why(str(error)), code="invalid_schema") from error


def _refuse_large_multiples(schema: Any) -> None:
    """What is a multiple of a number becomes a machine of so many states, and takes time of its square."""
    if isinstance(schema, Mapping):
        number = schema.get("multipleOf")
        if isinstance(number, int | float) and not isinstance(number, bool):
            digits = Decimal(str(number)).normalize().as_tuple().digits
            if int("".join(map(str, digits))) > _LARGEST_MULTIPLE:
                message = f"multipleOf: {number}: at most {_LARGEST_MULTIPLE}, or so many thousandths and the like"
                raise InvalidInput(message, code="invalid_schema")
    for inner in schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ():
        _refuse_large_multiples(inner)


def _why(said: str) -> str:
    return " ".join(said.split())[:300]


@lru_cache(maxsize=1)
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
