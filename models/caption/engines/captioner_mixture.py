"""Captions from two models side by side: one knows what the other does not.

The built-in ones: the describer knows drawings of things, words in them and photographs (`models/describer.py`);
`shapes`, a BLIP, the world of shapes. The describer says of which world a picture is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import Field

from models import describer, devices
from models.caption.blip import Blip
from models.caption.engine import CaptionEngine
from models.caption.generating import CaptionerOptions, batched, generated
from models.engine import Options
from models.entry import ModelEntry
from models.generation import keep_only_token_ids
from models.picture_kinds import PictureKind

if TYPE_CHECKING:
    import torch
    from PIL import Image

_QUESTION: Final = "Describe this image in one short sentence."
_LEFT_OUT: Final = ".。\ufffd"
"""At the end: full stops, and half a character where a caption is cut off."""


class CaptionerMixtureOptions(CaptionerOptions):
    """What the catalogue entry of a mixture can say."""

    shapes: str = Field(
        default="builtin:blip", description="folder of the other model, or builtin:NAME, as of engine captioner"
    )


class CaptionerMixtureEngine(CaptionEngine):
    """The describer and a BLIP. Captions are greedy, so the same each time."""

    is_on_hub: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = CaptionerMixtureOptions
    options: CaptionerMixtureOptions

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse what is no describer, be it a captioner. Raises as the base does."""
        super().check(entry)
        describer.folder_of(entry.checkpoint, "captioner")
        describer.check_shapes(Blip, _shapes_of(entry))

    @classmethod
    def weights(cls, entry: ModelEntry) -> tuple[ModelEntry, ...]:
        """The entries of both models."""
        return entry, _shapes_of(entry)

    @property
    def max_batch(self) -> int:
        """As the entry says."""
        return self.options.max_batch

    @property
    def footprint(self) -> int:
        """Bytes of both models."""
        return super().footprint + self._shapes.footprint if self.loaded else 0

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
        with devices.inference():
            kinds = describer.kinds(self._model, images)
        of_shapes = [i for i, kind in enumerate(kinds) if kind is PictureKind.SHAPES]
        others = [i for i, kind in enumerate(kinds) if kind is not PictureKind.SHAPES]
        captions = dict(
            zip(of_shapes, self._shapes.caption([images[i] for i in of_shapes], prefix, is_cancelled), strict=True)
        )
        for batch in batched(others, self.options.max_batch):
            described = self._describe([images[i] for i in batch], prefix, is_cancelled)
            captions |= dict(zip(batch, described, strict=True))
        return [captions[i] for i in range(len(images))]

    def _describe(self, images: list[Image.Image], prefix: str, is_cancelled: Callable[[], bool]) -> list[str]:
        with devices.inference():
            inputs = self._inputs(images, prefix)
            read = inputs["input_ids"].shape[1]
            made = generated(self._model, inputs, self.options, is_cancelled)[:, read:]
            texts = self._processor.batch_decode(made, skip_special_tokens=True)
        return [_caption(prefix, text) for text in texts]

    def _inputs(self, images: list[Image.Image], prefix: str) -> Mapping[str, Any]:
        """The question about each picture, and how its answer begins."""
        content = [{"type": "image"}, {"type": "text", "text": _QUESTION}]
        asked = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = self._processor(
            text=[asked] * len(images), images=images, return_tensors="pt", padding=True, padding_side="left"
        )
        # a control token in a prefix is text
        begun = self._processor.tokenizer(prefix, add_special_tokens=False, split_special_tokens=True).input_ids
        moved: Mapping[str, Any] = _continued(inputs, begun).to(self._model.device, self._model.dtype)
        return moved

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        return describer.mismatch(config, "captioner")

    def _load(self) -> None:
        self._shapes = Blip(_shapes_of(self.entry))
        self._shapes.load()
        device, dtype = devices.prepare_torch(self.entry)
        folder = describer.folder_of(self.entry.checkpoint, "captioner")
        model, self._processor = describer.open_describer(folder, dtype)
        self._model = model.to(device)
        keep_only_token_ids(model)

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        from PIL import Image

        self._shapes.warm_up()
        self._describe([Image.new("RGB", (64, 64))], "", lambda: False)


def _shapes_of(entry: ModelEntry) -> ModelEntry:
    """The entry of the other model."""
    options = CaptionerMixtureOptions.model_validate(entry.options)
    kept = options.model_dump(exclude={"shapes"})
    return entry.model_copy(
        update={"engine": "captioner", "checkpoint": options.shapes, "revision": None, "options": kept}
    )


def _continued(inputs: Any, tokens: Sequence[int]) -> Any:
    """What a processor has read of several texts, each with the same tokens behind it."""
    import torch

    for name, fill in (("input_ids", tokens), ("attention_mask", 1), ("mm_token_type_ids", 0)):
        before: torch.Tensor = inputs[name]
        behind = torch.zeros((len(before), len(tokens)), dtype=before.dtype)
        inputs[name] = torch.cat([before, behind + torch.tensor(fill, dtype=before.dtype)], dim=1)
    return inputs


def _caption(prefix: str, written: str) -> str:
    """What the describer has written behind a prefix, as captions are: no sentence, but the words of one."""
    text = " ".join(written.split()).rstrip(_LEFT_OUT)
    if prefix:
        return f"{prefix} {text}".strip()
    begins_small = text[1:2].islower()  # neither "I" nor "TV"
    return text[:1].lower() + text[1:] if begins_small or text[:2] == "A " else text
