"""Messages that call for tools: what the rules make of them, and what a label says."""

from __future__ import annotations

from collections import Counter

import numpy as np

from training.calls.messages import TOOLS, held_out, random_message
from training.calls.model import encoded, labels, make_tokenizer


def test_the_rules_make_messages_of_every_kind_and_language_and_none_of_the_held_out_ones() -> None:
    rng = np.random.default_rng(3)
    made = [random_message(rng) for _ in range(4000)]
    kinds = Counter((message.language, message.tool) for message in made)
    assert min(kinds[language, tool] for language in ("en", "ko", "ja") for tool in TOOLS) > 50
    assert not {message.text for message in made} & {message.text for message in held_out()}
    for message in made:
        assert not set("{}<>|§") & set(message.text), message.text
        assert bool(message.argument) == (message.tool != "none"), message.text
        assert message.tool != "edit_image" or message.has_picture


def test_the_held_out_messages_are_300_of_every_kind() -> None:
    messages = held_out()
    assert len({(message.text, message.has_picture) for message in messages}) == 300
    assert Counter(message.language for message in messages) == {"en": 100, "ko": 100, "ja": 100}
    assert {message.tool for message in messages} == set(TOOLS)


def test_labels_mark_the_tool_and_the_letters_that_it_gets() -> None:
    rng = np.random.default_rng(4)
    made = [random_message(rng) for _ in range(200)]
    tokenizer = make_tokenizer(message.text for message in made)
    for message in made:
        ids, offsets = encoded(message, tokenizer)
        marks = labels(message, offsets)
        assert len(ids) == len(marks) == len(offsets) + 1
        assert TOOLS[marks[0]] == message.tool
        inside = [pair for pair, mark in zip(offsets, marks[1:], strict=True) if mark]
        found = message.text[inside[0][0] : inside[-1][1]] if inside else ""
        assert found == message.argument
        assert set(marks) <= {0, marks[0]}
