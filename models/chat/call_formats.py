"""How models of the usual families write calls of tools: `response_template`s, as transformers reads them.

A checkpoint whose tokenizer has a `response_template` of its own says it itself. Of the others the chat template
tells: what it makes of a call in a conversation is what the model has learned to write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from transformers.utils.chat_parsing import ResponseParser

logger = logging.getLogger(__name__)

_NAME: Final = r"(?P<name>[\w.-]+)"
_BEHIND_ALL: Final = r"\s*<｜tool▁calls▁end｜>"
UNSAID: Final = "unsaid"
"""The field of what stands behind all calls, and says nothing."""
_CALLED: Final = {"function": {"name": "{name}", "arguments": "{content}"}}


@dataclass(frozen=True)
class CallFormat:
    """A way to write calls.

    `region` is the field `tool_calls` of a `response_template`; or `template` is a whole one. `markers` are the texts
    that matter, which may be special tokens and must be decoded then.
    """

    name: str
    markers: tuple[str, ...] = ()
    region: Mapping[str, Any] | None = None
    template: Mapping[str, Any] | None = None

    def parser(self, tools: Sequence[Mapping[str, Any]]) -> ResponseParser:
        """A parser of one answer, which begins with the model's own words."""
        from transformers.utils.chat_parsing import ResponseParser

        return ResponseParser(self._loaded, prefix="", tools=[dict(tool) for tool in tools])

    @property
    def closes_late(self) -> bool:
        """Whether the end of a call is seen one character late, as of all patterns."""
        return self.region is not None and "close_pattern" in self.region

    @cached_property
    def _loaded(self) -> Any:
        from transformers.utils.chat_parsing.response_templates import load_response_template

        template = self.template or {
            "start_anchor": "\0",
            "fields": {
                "tool_calls": {**(self.region or {}), "repeats": True},
                "content": {"content": "text"},
                UNSAID: {"open_pattern": _BEHIND_ALL},
            },
        }
        return load_response_template(dict(template))


FAMILIES: Final = (
    CallFormat(
        "qwen3-coder",
        ("<tool_call>", "</tool_call>"),
        {
            "open_pattern": rf"\s*<tool_call>\s*<function={_NAME}>",
            "close_pattern": r"</function>\s*</tool_call>",
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"},
            "transform": _CALLED,
        },
    ),
    CallFormat(
        "hermes",
        ("<tool_call>", "</tool_call>"),
        {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "content": "json",
            "transform": {"function": "{content}"},
        },
    ),
    CallFormat(
        "mistral",
        ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
        {
            "open_pattern": rf"\s*\[TOOL_CALLS\]\s*{_NAME}(?:\[CALL_ID\]\w+)?\[ARGS\]",
            "close_pattern": r"(?=\[TOOL_CALLS\])",
            "content": "json",
            "transform": _CALLED,
        },
    ),
    CallFormat(
        "mistral-list",
        ("[TOOL_CALLS]",),
        {
            "open_pattern": r"\s*\[TOOL_CALLS\]\s*(?=\[)",
            "content": "json",
            "transform": {"function": {"name": "{name}", "arguments": "{arguments}"}},
            "transform_each": True,
        },
    ),
    CallFormat(
        "gemma4",
        ("<|tool_call>", "<tool_call|>", '<|"|>'),
        {
            "open_pattern": rf"\s*<\|tool_call>call:{_NAME}",
            "close": "<tool_call|>",
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [['<|"|>', '<|"|>']]},
            "transform": _CALLED,
        },
    ),
    CallFormat(
        "functiongemma",
        ("<start_function_call>", "<end_function_call>", "<escape>"),
        {
            "open_pattern": rf"\s*<start_function_call>call:{_NAME}",
            "close": "<end_function_call>",
            "content": "json",
            "content_args": {"unquoted_keys": True, "string_delims": [["<escape>", "<escape>"]]},
            "transform": _CALLED,
        },
    ),
    *(
        CallFormat(
            name,
            tuple(f"<｜tool▁{part}｜>" for part in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "sep")),
            {
                "open_pattern": rf"\s*(?:<｜tool▁calls▁begin｜>)?\s*<｜tool▁call▁begin｜>{opening}",
                "close_pattern": rf"{closing}<｜tool▁call▁end｜>",
                "content": "json",
                "transform": _CALLED,
            },
        )
        for name, opening, closing in (
            ("deepseek-v3", rf"function<｜tool▁sep｜>{_NAME}\s*```json", r"```\s*"),
            ("deepseek-v3.1", rf"{_NAME}<｜tool▁sep｜>", ""),
        )
    ),
    CallFormat(
        "llama3",
        ("<|python_tag|>",),
        {
            "open_pattern": r"(?:^\s*|\s*<\|python_tag\|>\s*)(?=\{)",
            "content": "json",
            "transform": {"function": "{content}"},
        },
    ),
)
"""In the order in which they are tried: the narrower before the wider."""


def own_format(template: Mapping[str, Any], special: tuple[str, ...]) -> CallFormat | None:
    """The format of a tokenizer's own `response_template`; None where it is not one that transformers can read."""
    own = CallFormat("own", special, template=template)
    try:
        own.parser([])
    except ValueError as error:
        logger.warning("the tokenizer's response_template is not used: %s", error)
        return None
    return own


def family_of(calls: Callable[[CallFormat], bool]) -> CallFormat | None:
    """The format that a template writes, where `calls(format)` says whether it finds the call there."""
    return next((each for each in FAMILIES if calls(each)), None)
