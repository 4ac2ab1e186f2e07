"""Chat models of any checkpoint that transformers loads by itself (Qwen2.5-VL, InternVL3, Gemma 3 …)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from models import checkpoints
from models.chat.conversation import READS_PICTURES
from models.chat.transformers_chat import BatchedOptions, TransformersChat
from models.describer import MODEL_TYPE as DESCRIBER
from models.engine import Options
from models.errors import CheckpointError

if TYPE_CHECKING:
    import torch

_CAPTIONERS = ("blip", "blip-2")
"""`model_type` of what transformers counts among the models that answer about pictures, but has no chat template."""


class VlmOptions(BatchedOptions):
    """What the catalogue entry of a checkpoint of transformers can say."""

    processor: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the checkpoint's processor, e.g. max_pixels: 1003520"
    )


class TransformersVlm(TransformersChat):
    """A chat model that transformers loads whole, with its processor."""

    Options: ClassVar[type[Options]] = VlmOptions
    options: VlmOptions

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        if kind in _CAPTIONERS:
            return f"is a {kind} model, which cannot answer messages; the engine 'captioner' loads it"
        if kind == DESCRIBER:
            return f"is an {kind} model, which transformers does not know; the engine 'vlm_mixture' loads it"
        return None if READS_PICTURES.search(json.dumps(config)) else f"is a {kind} model, which reads no pictures"

    def _open(self, dtype: torch.dtype) -> tuple[Any, Any]:
        """The model with its weights, and its processor."""
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint

        from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
        from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = AutoConfig.from_pretrained(source, revision=self.entry.revision)
        if config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise CheckpointError(f"{self.entry.checkpoint!r} is a {config.model_type} model, which reads no pictures")
        processor = AutoProcessor.from_pretrained(source, revision=self.entry.revision, **self.options.processor)
        if processor.chat_template is None:
            raise CheckpointError(f"{self.entry.checkpoint!r} has no chat template, so it cannot answer messages")
        model = AutoModelForImageTextToText.from_pretrained(
            source, revision=self.entry.revision, config=config, dtype=dtype
        )
        return model, processor
