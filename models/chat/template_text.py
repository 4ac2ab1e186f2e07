"""What the text of a chat template says of its model, before that is loaded."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.checkpoints import local_folder

if TYPE_CHECKING:
    from models.entry import ModelEntry

_FILES: Final = (
    ("chat_template.jinja", None),
    ("chat_template.json", "chat_template"),
    ("tokenizer_config.json", "chat_template"),
)
"""Where a template can be, the newest place first, and its field there."""


def template_text(entry: ModelEntry) -> str | None:
    """The chat template of a checkpoint, of several the one for tools; None where none is on disk."""
    for name, field in _FILES:
        path = _on_disk(entry, name)
        if path is None:
            continue
        text = path.read_text(encoding="utf-8")
        found = text if field is None else json.loads(text).get(field)
        if isinstance(found, list):
            named = {each["name"]: each["template"] for each in found}
            found = named.get("tool_use", named.get("default"))
        if found is not None:
            return str(found)
    return None


@lru_cache(maxsize=64)
def names_tools(source: str) -> bool:
    """Whether a template does anything with tools. `models.chat.template` finds out what, once the model is loaded."""
    from jinja2 import Environment, TemplateSyntaxError

    try:  # the lexer needs to know no extension
        return any(kind == "name" and value == "tools" for _, kind, value in Environment().lex(source))  # noqa: S701
    except TemplateSyntaxError:
        return False


def _on_disk(entry: ModelEntry, name: str) -> Path | None:
    folder = local_folder(entry.checkpoint)
    if folder is not None:
        path = folder / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(entry.checkpoint, name, revision=entry.revision)
    return Path(found) if isinstance(found, str) else None
