"""Captions by BLIP and BLIP-2, as transformers has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from models import checkpoints, devices
from models.caption.engine import CaptionEngine
from models.caption.generating import CaptionerOptions, batched, generated
from models.describer import MODEL_TYPE as DESCRIBER
from models.engine import Options
from models.errors import CheckpointError
from models.generation import keep_only_token_ids

if TYPE_CHECKING:
    from PIL import Image

_CLASSES = {
    "blip": ("BlipForConditionalGeneration", "BlipProcessor"),
    "blip-2": ("Blip2ForConditionalGeneration", "Blip2Processor"),
}
"""`model_type` of a checkpoint's config.json → model and processor."""


class Blip(CaptionEngine):
    """A BLIP or BLIP-2 captioner, whichever the checkpoint is. Captions are greedy, so the same each time."""

    Options: ClassVar[type[Options]] = CaptionerOptions
    options: CaptionerOptions

    @property
    def max_batch(self) -> int:
        """As the entry says."""
        return self.options.max_batch

    def caption(
        self,
        images: Sequence[Image.Image],
        prefix: str | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> list[str]:
        """One caption per RGB picture, in order; with a prefix, each begins with it, word for word.

        Raises:
            Cancelled: `is_cancelled()` was true; it is asked once per token.
        """
        prefix = " ".join((prefix or "").split())
        captions: list[str] = []
        for batch in batched(images, self.options.max_batch):
            captions += self._batch(list(batch), prefix, is_cancelled)
        return captions

    def _batch(self, images: list[Image.Image], prefix: str, is_cancelled: Callable[[], bool]) -> list[str]:
        with devices.inference():
            words = {"text": [prefix] * len(images)} if prefix else {}
            inputs = self._processor(images=images, return_tensors="pt", **words)
            inputs = inputs.to(self._model.device, self._model.dtype)  # casts the floating ones only
            read = self._decode(inputs["input_ids"][:1])[0] if prefix else ""
            made = generated(self._model, inputs, self.options, is_cancelled)
            return [_with_prefix(prefix, read, written) for written in self._decode(made)]

    def _decode(self, tokens: Any) -> list[str]:
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        kind = config.get("model_type")
        return None if kind in _CLASSES else _no_captioner(kind)

    def _load(self) -> None:
        device, dtype = devices.prepare_torch(self.entry)
        source = checkpoints.local_folder(self.entry.checkpoint) or self.entry.checkpoint

        import transformers
        from transformers.utils import logging

        logging.disable_progress_bar()
        config = transformers.AutoConfig.from_pretrained(source, revision=self.entry.revision)
        if config.model_type not in _CLASSES:
            raise CheckpointError(f"{self.entry.checkpoint!r} {_no_captioner(config.model_type)}")
        model, processor = (getattr(transformers, name) for name in _CLASSES[config.model_type])
        self._processor = processor.from_pretrained(source, revision=self.entry.revision)
        loaded = model.from_pretrained(source, revision=self.entry.revision, config=config, dtype=dtype)
        self._model = loaded.eval().to(device)
        keep_only_token_ids(loaded)

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        from PIL import Image

        self.caption([Image.new("RGB", (64, 64))])


def _no_captioner(kind: object) -> str:
    other = "; the engine 'captioner_mixture' loads it" if kind == DESCRIBER else ""
    return f"is a {kind} model, not {' or '.join(_CLASSES)}{other}"


def _with_prefix(prefix: str, read: str, written: str) -> str:
    """The caption of what a model has written after it has read the prefix.

    `read` is the prefix as the tokenizer gives it back (in lower case, say). Decoder-only models repeat it before
    their own words, encoder-decoder models write their own words alone.
    """
    for beginning in (read, prefix):
        if written.lower().startswith(beginning.lower()):
            return f"{prefix}{written[len(beginning) :]}".strip()
    return f"{prefix} {written}".strip()
