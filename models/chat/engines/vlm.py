"""Answers about pictures from any transformers image-text-to-text checkpoint (Qwen2.5-VL, InternVL3, Gemma 3 …)."""

from __future__ import annotations

from models.chat.transformers_vlm import TransformersVlm


class TransformersVlmEngine(TransformersVlm):
    """A chat model of transformers with its own chat template."""
