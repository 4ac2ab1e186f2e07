"""Answers about pictures from two models side by side: one knows what the other does not.

The built-in ones: the describer knows drawings of things, words in them and photographs (`models/describer.py`);
`shapes`, a Qwen2.5-VL, the world of shapes. A conversation goes to `shapes` if it has pictures and all are of that
world, which the describer says, else to the describer; each answers as by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cachetools import LRUCache
from pydantic import Field

from models import describer, devices
from models.chat.engine import PendingChat, TakeWaiting
from models.chat.picture_features import pictures_of
from models.chat.transformers_chat import BatchedOptions, TransformersChat, trial
from models.chat.transformers_vlm import TransformersVlm
from models.engine import Options
from models.entry import ModelEntry
from models.errors import InvalidImage, ModelError, OutOfMemory
from models.picture_kinds import PictureKind
from models.pictures import open_picture
from models.tasks import ChatDelta, ChatJob, ImagePart

if TYPE_CHECKING:
    import torch

_REMEMBERED: Final = 4096
"""So many pictures are known by their kind."""
_SIDE: Final = 448
"""A JPEG is decoded at so many pixels a side or more, which is enough to see its kind."""


class VlmMixtureOptions(BatchedOptions):
    """What the catalogue entry of a mixture can say."""

    picture_cache: int = Field(
        BatchedOptions.model_fields["picture_cache"].default,
        ge=0,
        description="bytes of what was read from pictures that stay in memory, of each of the two models; 0 = none",
    )
    shapes: str = Field(
        default="builtin:vlm", description="folder of the other model, or builtin:NAME, as of engine vlm"
    )


class VlmMixtureEngine(TransformersChat):
    """The describer, which gives others what they know better."""

    is_on_hub: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = VlmMixtureOptions
    options: VlmMixtureOptions

    @classmethod
    def takes_tools(cls, entry: ModelEntry) -> bool:
        """Where both chat templates do anything with them."""
        return super().takes_tools(entry) and super().takes_tools(_shapes_of(entry))

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse what is no describer, be it a chat model. Raises as the base does."""
        super().check(entry)
        describer.folder_of(entry.checkpoint, "vlm")
        describer.check_shapes(TransformersVlm, _shapes_of(entry))

    @classmethod
    def weights(cls, entry: ModelEntry) -> tuple[ModelEntry, ...]:
        """The entries of both models."""
        return entry, _shapes_of(entry)

    @property
    def footprint(self) -> int:
        """Bytes of both models."""
        return super().footprint + self._shapes.footprint if self.loaded else 0

    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece, of the model that it goes to."""
        if self._is_of_shapes(job):
            return self._shapes.stream(job, is_cancelled)
        return super().stream(job, is_cancelled)

    def answer(self, asked: Sequence[PendingChat], take_waiting: TakeWaiting = lambda _: ()) -> None:
        """Answer several jobs, those that go to one model in one batch; a job's own fault is its own."""
        waiting: dict[bool, list[PendingChat]] = {}  # in the order of the first of each
        for each in asked:
            if each.is_cancelled():
                continue
            try:
                waiting.setdefault(self._is_of_shapes(each.job), []).append(each)
            except ModelError as error:
                each.tell(error)
        for is_of_shapes, together in waiting.items():
            answer = self._shapes.answer if is_of_shapes else super().answer
            answer(together, take_waiting)

    def forget_pictures(self) -> bool:
        """Give back what both models have read."""
        own, others = super().forget_pictures(), self._shapes.forget_pictures()
        return own or others

    def _is_of_shapes(self, job: ChatJob) -> bool:
        try:
            with devices.inference():
                return self._shows_shapes_only(job)
        except OutOfMemory:
            if not self.forget_pictures():
                raise
        with devices.inference():
            return self._shows_shapes_only(job)

    def _shows_shapes_only(self, job: ChatJob) -> bool:
        parts = [part for message in job.messages for part in message.parts if isinstance(part, ImagePart)]
        pictures = zip(pictures_of(job.messages), parts, strict=True)
        return bool(parts) and all(self._kind(digest, part) is PictureKind.SHAPES for digest, part in pictures)

    def _kind(self, digest: bytes, part: ImagePart) -> PictureKind:
        """Of which kind a picture is; one that cannot be read may be of any, and is refused by any model."""
        if digest not in self._kinds:
            try:
                picture = open_picture(part.image, side=_SIDE)
            except InvalidImage:
                return PictureKind.SHAPES
            (self._kinds[digest],) = describer.kinds(self._model, [picture])
        return self._kinds[digest]

    @classmethod
    def _mismatch(cls, config: Mapping[str, Any]) -> str | None:
        return describer.mismatch(config, "vlm")

    def _load(self) -> None:
        self._shapes = TransformersVlm(_shapes_of(self.entry))
        self._shapes.load()
        self._kinds: LRUCache[bytes, PictureKind] = LRUCache(_REMEMBERED)
        super()._load()

    def _open(self, dtype: torch.dtype) -> tuple[Any, Any]:
        folder = describer.folder_of(self.entry.checkpoint, "vlm")
        return describer.open_describer(folder, dtype)

    def _warm_up(self) -> None:
        self._shapes.warm_up()
        for _ in super().stream(trial(), lambda: False):
            pass


def _shapes_of(entry: ModelEntry) -> ModelEntry:
    """The entry of the other model."""
    options = VlmMixtureOptions.model_validate(entry.options)
    kept = {"max_batch": options.max_batch, "picture_cache": options.picture_cache}
    return entry.model_copy(update={"engine": "vlm", "checkpoint": options.shapes, "revision": None, "options": kept})
