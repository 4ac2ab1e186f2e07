"""Answers of a given form: which tokens may come next (llguidance). Knows tokenizers, but no model and no tensors.

A form is a JSON schema or a tuple of texts (`models.tasks.ChatJob.form`). Regular expressions in a schema are matched
by llguidance's own engine, in time linear in the text, so a caller's pattern cannot hold a process up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import InvalidInput
from models.tasks import TokenLogprob

Form = Mapping[str, Any] | tuple[str, ...]

_LONGEST = 200_000
_LARGEST_MULTIPLE = 100_000
_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""One spelling of each value: with free whitespace a small model can write blanks until its tokens are used up."""


class Grammar:
    """One answer of a form, as it is written."""

    def __init__(self, vocabulary: Any, form: Form) -> None:
        """`vocabulary`: what `vocabulary_of` gives.

        Raises:
            InvalidInput: see `check`.
        """
        from llguidance import LLMatcher

        self._matcher = LLMatcher(vocabulary, _compiled(form))
        if self._matcher.is_error():
            raise InvalidInput(_why(self._matcher.get_error()), code="invalid_schema")

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tokens of the vocabulary may come next; the end tokens among them once the answer may end.

        Raises:
            InvalidInput: nothing may, not even the end.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise InvalidInput("no answer can satisfy it", code="invalid_schema")
        return np.unpackbits(bits, bitorder="little").astype(np.bool_)

    def accept(self, token: int) -> None:
        """Go on after an allowed token."""
        self._matcher.consume_token(token)


def vocabulary_of(tokenizer: Any, size: int, ends: list[int]) -> Any:
    """The tokens of a fast tokenizer of transformers, of which the model scores `size` and ends with one of `ends`."""
    import llguidance.hf

    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)), eos_token=ends)


def spelled(vocabulary: Any, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    """A token as callers see it; `vocabulary` is what `vocabulary_of` gives."""
    data = bytes(vocabulary.decode_bytes([token]))
    return TokenLogprob(data.decode("utf-8", "replace"), logprob, data, top)


def check(form: Form) -> None:
    """Refuse a form that no answer can have, or that uses words of JSON Schema which are not known here.

    Raises:
        InvalidInput: the message says what is wrong; it names no field, since callers write forms into several.
    """
    from llguidance import LLMatcher

    if wrong := LLMatcher.validate_grammar(_compiled(form)):
        raise InvalidInput(_why(wrong), code="invalid_schema")
    Grammar(_bytes(), form).allowed()


def satisfies(form: Form, value: Any) -> bool:
    """Whether a JSON value is an answer of a form, its properties in the form's order.

    Time and memory are linear in the value, whatever the form says; a validator that follows references and patterns
    as they are written can be made to run for ever by their author.
    """
    from llguidance import LLMatcher

    vocabulary = _bytes()
    matcher = LLMatcher(vocabulary, _compiled(form))
    tokens = vocabulary.tokenize_str(json.dumps(value, ensure_ascii=False, allow_nan=False))
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


def _compiled(form: Form) -> str:
    from llguidance import LLMatcher

    try:
        if isinstance(form, tuple):
            return str(LLMatcher.grammar_from_lark(f"start: {' | '.join(map(json.dumps, form))}"))
        text = json.dumps(form)
        if len(text) > _LONGEST:
            raise InvalidInput(f"{len(text)} characters; at most {_LONGEST} are read", code="invalid_schema")
        _refuse_large_multiples(form)
        return str(LLMatcher.grammar_from_json_schema(text, defaults=_STYLE))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(_why(str(error)), code="invalid_schema") from error


def _refuse_large_multiples(schema: Any) -> None:
    """What is a multiple of a number becomes a machine of so many states, and takes time of its square."""
    if isinstance(schema, Mapping):
        number = schema.get("multipleOf")
        if isinstance(number, int | float):
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
