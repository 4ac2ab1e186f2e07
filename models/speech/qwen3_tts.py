"""What both engines of Qwen3-TTS know of its checkpoints: which can imitate a recording, and how sounds are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MODEL_TYPE: Final = "qwen3_tts"
_TOKENIZER: Final = "qwen3_tts_tokenizer_12hz"

SAMPLING: Final[dict[str, Any]] = {"temperature": 0.9, "top_k": 50, "top_p": 1.0, "repetition_penalty": 1.05}
"""Qwen's published defaults. Given with every call, or both libraries would take others from the checkpoint."""


def not_a_base(config: Mapping[str, Any]) -> str | None:
    """Why a checkpoint of Qwen3-TTS cannot imitate a recording, by its config.json; None when it can."""
    if (purpose := config.get("tts_model_type")) != "base":
        return f"is a {purpose} model, which cannot imitate a recording; a base model can"
    if (tokenizer := config.get("tokenizer_type")) != _TOKENIZER:
        return f"has the tokenizer {tokenizer}; {_TOKENIZER} is the one that works here"
    return None
