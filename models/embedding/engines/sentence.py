"""Texts as vectors, from any checkpoint of sentence-transformers, or any encoder that transformers knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from models import devices
from models.checkpoints import local_folder
from models.embedding.engine import EmbeddingEngine, EmbeddingOptions
from models.engine import Options

_LONGEST: Final = 8192
"""Tokens of a window of a model that names no bound of its own."""


class SentenceOptions(EmbeddingOptions):
    """What the catalogue entry of a text embedder can say."""

    prompt: str | None = Field(
        default=None, max_length=2000, description="what comes before every text, where the checkpoint names another"
    )


class SentenceEngine(EmbeddingEngine):
    """A text embedder with the pooling, normalisation and prompt that its checkpoint names; mean pooling without any.

    `checkpoint` is a folder, or a hub id. Code that comes with a checkpoint is not run.
    """

    takes_pictures: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = SentenceOptions
    options: SentenceOptions

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, with those that mark its ends; none is cut off, and padding is not counted."""
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def _encode_texts(self, batch: list[str]) -> np.ndarray:
        encoded = self._model.encode(
            batch,
            prompt=self.options.prompt,
            batch_size=len(batch),
            show_progress_bar=False,
            convert_to_tensor=True,
            normalize_embeddings=True,
        )
        vectors: np.ndarray = encoded.float().cpu().numpy()
        return vectors

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry, used=("scipy",))

        from sentence_transformers import SentenceTransformer

        folder = local_folder(self.entry.checkpoint)
        self._model = SentenceTransformer(
            str(folder or self.entry.checkpoint.removeprefix("hf-hub:")),
            revision=None if folder else self.entry.revision,
            device=device,
            model_kwargs={"dtype": dtype},
            local_files_only=folder is not None,
        )
        self._model.eval()
        with devices.inference():
            self._dimension = self._encode_texts(["a"]).shape[-1]
        prompt = self.options.prompt or self._model.prompts.get(self._model.default_prompt_name or "", "")
        longest = self._model.max_seq_length or _LONGEST
        # a token more than the prompt has alone: it may be read otherwise before a word
        room = self.count_tokens(prompt) - self.count_tokens("") + 1 if prompt else 0
        self._context_length = longest - room

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        self.embed_texts(["a"])
