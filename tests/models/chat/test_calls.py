"""Calls of tools in recorded answers, cut at every place."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from models.chat.call_formats import FAMILIES
from models.chat.calls import (
    ArgumentsReader,
    CallReader,
    HeldCallsReader,
    MarkedCallsReader,
    reader_for,
    whole_calls,
)
from models.tasks import CallDelta, ChatJob, Message, TextPart, Tool

FORMATS = {each.name: each for each in FAMILIES}
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [Tool("get_weather", "The weather", CITY), Tool("stop")]
Read = tuple[str, list[tuple[str, str]]]

RECORDED: list[tuple[str, str, str, list[tuple[str, str]]]] = [
    (
        "hermes",
        'Let me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        "Let me look.",
        [("get_weather", '{"city": "Paris"}')],
    ),
    (
        "hermes",
        (
            '<tool_call>{"name": "get_weather", "arguments": {"city": "<b> \\"é\\" 서울"}}</tool_call>\n'
            '<tool_call>\n{"name":"stop","arguments":{}}\n</tool_call>\n'
        ),
        "",
        [("get_weather", '{"city": "<b> \\"é\\" 서울"}'), ("stop", "{}")],
    ),
    ("hermes", '<tool_call>{"name": "stop"}', "", [("stop", "{}")]),  # the end tag is forgotten
    (
        "qwen3-coder",
        (
            "ok\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nNew\n York\n</parameter>\n<parameter=days>\n3"
            "\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=stop>\n</function>\n</tool_call>"
        ),
        "ok",
        [("get_weather", '{"city": "New\\n York", "days": 3}'), ("stop", "{}")],
    ),
    (
        "mistral",
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Rome"}[TOOL_CALLS]stop[CALL_ID]abc123def[ARGS]{}',
        "",
        [("get_weather", '{"city": "Rome"}'), ("stop", "{}")],
    ),
    (
        "mistral-list",
        '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Rome"}}, {"name": "stop", "arguments": {}}]',
        "",
        [("get_weather", '{"city": "Rome"}'), ("stop", "{}")],
    ),
    (
        "gemma4",
        '<|tool_call>call:get_weather{city:<|"|>Rome, {x}<|"|>,days:3}<tool_call|><|tool_call>call:stop{}<tool_call|>',
        "",
        [("get_weather", '{"city": "Rome, {x}", "days": 3}'), ("stop", "{}")],
    ),
    (
        "functiongemma",
        "<start_function_call>call:get_weather{city:<escape>Rome<escape>}<end_function_call>",
        "",
        [("get_weather", '{"city": "Rome"}')],
    ),
    (
        "deepseek-v3",
        (
            "Sure.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
            '{"city": "Rome"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>stop\n```json\n{}\n'
            "```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        "Sure.",
        [("get_weather", '{"city": "Rome"}'), ("stop", "{}")],
    ),
    (
        "deepseek-v3.1",
        (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Rome"}<｜tool▁call▁end｜>'
            "<｜tool▁call▁begin｜>stop<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        "",
        [("get_weather", '{"city": "Rome"}'), ("stop", "{}")],
    ),
    ("llama3", '{"name": "get_weather", "parameters": {"city": "Rome"}}', "", [("get_weather", '{"city": "Rome"}')]),
    ("llama3", '<|python_tag|>{"name": "stop", "parameters": {}}', "", [("stop", "{}")]),
    ("llama3", 'Well. <|python_tag|>{"name": "stop", "parameters": {}}', "Well.", [("stop", "{}")]),
]
NO_CALLS: list[tuple[str, str]] = [
    ("hermes", 'a <tool_call>{"name": broken}</tool_call> and <b>'),
    ("hermes", '<tool_call>{"name": "of another", "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "stop", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": "stop", "argum'),
    ("hermes", "1 < 2 <tool_ca"),
    ("hermes", "one\n\ntwo\n"),
    ("qwen3-coder", '<tool_call>{"name": "stop"}</tool_call>'),
    ("mistral", "a [TOOL_CALLS]of_another[ARGS]{}"),
    ("mistral-list", "[TOOL_CALLS] [x"),
    ("gemma4", "<|tool_call>call:get_weather{city:<tool_call|>"),
    ("deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>stop<｜tool▁sep｜>{<｜tool▁call▁end｜>"),
    ("llama3", '{"colour": "red"}'),
    ("llama3", "{ is a bracket"),
]


def read(reader: CallReader, pieces: Iterable[str]) -> Read:
    said, calls = "", list[CallDelta]()
    for text, told in (*map(reader.push, pieces), reader.finish()):
        said += text
        calls += told
    whole = whole_calls(calls)
    assert len({call.id for call in whole}) == len(whole)
    assert all(call.id for call in whole)
    assert reader.has_called == bool(whole)
    return said, [(call.name, call.arguments) for call in whole]


def marked(name: str) -> MarkedCallsReader:
    return MarkedCallsReader(FORMATS[name], TOOLS)


@pytest.mark.parametrize(("name", "text", "said", "calls"), RECORDED)
def test_calls_are_found_wherever_the_answer_is_cut(
    name: str, text: str, said: str, calls: list[tuple[str, str]]
) -> None:
    assert read(marked(name), [text]) == (said, calls)
    assert read(marked(name), text) == (said, calls)
    for at in range(1, len(text)):
        assert read(marked(name), [text[:at], text[at:]]) == (said, calls)


@pytest.mark.parametrize(("name", "text"), NO_CALLS)
def test_what_is_no_call_stays_text_wherever_it_is_cut(name: str, text: str) -> None:
    assert read(marked(name), text) == (text, [])
    for at in range(len(text)):
        assert read(marked(name), [text[:at], text[at:]]) == (text, [])


def test_a_bad_call_does_not_hide_a_good_one_behind_it() -> None:
    text = '<tool_call>{"name": no}</tool_call><tool_call>{"name": "stop", "arguments": {}}</tool_call>'
    assert read(marked("hermes"), text) == ('<tool_call>{"name": no}</tool_call>', [("stop", "{}")])


def test_words_come_at_once_and_no_half_of_a_tag() -> None:
    reader = marked("hermes")
    assert reader.push("Hello <b") == ("Hello <b", ())
    assert reader.push(" <tool_")[0] == ""
    assert reader.push('call>{"name": "stop", "arguments": {}}') == ("", ())
    assert [piece.name for piece in reader.push("</tool_call>")[1]] == ["stop", None]


def test_arguments_of_a_held_call_come_as_they_are_written() -> None:
    reader = ArgumentsReader("f")
    first = reader.push('{"a')[1]
    assert (first[0].name, first[0].arguments) == ("f", "")
    assert [piece.arguments for piece in (*first[1:], *reader.push('": 1}')[1])] == ['{"a', '": 1}']
    assert read(ArgumentsReader("f"), ["", '{"a": 1}']) == ("", [("f", '{"a": 1}')])


@pytest.mark.parametrize("is_list", [False, True])
def test_held_calls_are_told_apart_wherever_they_are_cut(is_list: bool) -> None:
    arguments = ['{"a": "} \\" ] \\\\", "b": [{"c": {}}]}', "{}"] if is_list else ['{"a": "} \\" ] \\\\"}']
    calls = [f'{{"name": "f-{i}", "arguments": {each}}}' for i, each in enumerate(arguments)]
    text = f"[{', '.join(calls)}]" if is_list else calls[0]
    json.loads(text)
    expected = [(f"f-{i}", each) for i, each in enumerate(arguments)]
    for at in range(len(text)):
        assert read(HeldCallsReader(), [text[:at], text[at:]]) == ("", expected)
    assert read(HeldCallsReader(), text) == ("", expected)


def test_an_answer_is_read_for_calls_only_where_there_can_be_some() -> None:
    messages = (Message("user", (TextPart("a"),)),)
    hermes = FORMATS["hermes"]
    assert reader_for(ChatJob(messages), hermes) is None
    assert reader_for(ChatJob(messages, tools=tuple(TOOLS)), None) is None
    assert reader_for(ChatJob(messages, tools=tuple(TOOLS), form={"type": "object"}), hermes) is None
    assert isinstance(reader_for(ChatJob(messages, tools=tuple(TOOLS)), hermes), MarkedCallsReader)
    held = ChatJob(messages, tools=tuple(TOOLS), must_call=("stop",))
    assert isinstance(reader_for(held, None), ArgumentsReader)
    several = ChatJob(messages, tools=tuple(TOOLS), must_call=("stop",), calls_several=True)
    assert isinstance(reader_for(several, None), HeldCallsReader)
