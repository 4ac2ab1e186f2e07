"""Does a message call the tool that it should, and does the tool get the right words? Over 300 held-out messages."""

from __future__ import annotations

from pathlib import Path

from training.calls.messages import held_out
from training.calls.model import load, read
from training.captions import LANGUAGES
from training.evaluate import MODELS, Row

_BAR = 0.95


def evaluate(folder: Path = MODELS / "calls") -> list[Row]:
    """Right tools by language and together; the words of those that call one."""
    model, tokenizer = load(folder)
    messages = held_out()
    found = [read(model, tokenizer, message) for message in messages]
    right = [tool == message.tool for message, (tool, _) in zip(messages, found, strict=True)]
    rows = [Row("calls", "the right tool, or none", sum(right) / len(right), _BAR, len(right))]
    for language in LANGUAGES:
        those = [is_right for message, is_right in zip(messages, right, strict=True) if message.language == language]
        rows.append(Row("calls", f"the right tool, {language}", sum(those) / len(those), None, len(those)))
    words = [
        said == message.argument.strip()
        for message, (tool, said) in zip(messages, found, strict=True)
        if tool == message.tool != "none"
    ]
    rows.append(Row("calls", "exactly the words meant", sum(words) / len(words), None, len(words)))
    return rows
