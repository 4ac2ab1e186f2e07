"""Words and pictures as vectors, from any open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from models import checkpoints, devices
from models.embedding.engine import EmbeddingEngine
from models.engine import Options
from models.entry import ModelEntry
from models.errors import Cancelled, CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

_PRECISIONS = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}


_MOST_ASPECT: Final = 16
"""How many times as long as the other a side of what is preprocessed may be."""


class ClipOptions(Options):
    """What the catalogue entry of a CLIP model can say."""

    pretrained: str | None = Field(
        default=None, description="weights of a checkpoint given by architecture, e.g. laion2b_s34b_b79k for ViT-B-32"
    )
    max_batch: int = Field(default=32, ge=1, description="inputs that go through the model at once")


class OpenClipEngine(EmbeddingEngine):
    """An open_clip model with the tokenizer and the pre-processing that belong to it.

    `checkpoint` is a built-in, a folder with `open_clip_config.json`, a hub id (`org/name`), or the name of an
    architecture (`ViT-B-32`) together with the option `pretrained`. Text beyond the model's context is cut off.
    """

    marker: ClassVar[str] = "open_clip_config.json"
    Options: ClassVar[type[Options]] = ClipOptions
    options: ClipOptions

    @property
    def max_batch(self) -> int:
        """As the entry says."""
        return self.options.max_batch

    @property
    def dimension(self) -> int:
        """How many numbers a vector has; known once loaded."""
        dimension: int = self._dimension
        return dimension

    @property
    def context_length(self) -> int:
        """How many tokens of a text are read; known once loaded."""
        length: int = self._tokenizer.context_length
        return length

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, with those that mark its ends; none is cut off, and padding is not counted.

        Counted before open_clip pads: the id of its padding is also that of a word (`!`) or of the end in some
        vocabularies.
        """
        from open_clip.tokenizer import SigLipTokenizer, SimpleTokenizer, basic_clean, canonicalize_text

        tokenizer = self._tokenizer
        if isinstance(tokenizer, SimpleTokenizer):
            return len(tokenizer.encode(text)) + 2
        is_siglip = isinstance(tokenizer, SigLipTokenizer)
        text = canonicalize_text(basic_clean(text)) if is_siglip else tokenizer.clean_fn(text)
        if not is_siglip and tokenizer.tokenizer_mode == "clips":  # open_clip itself marks the ends and the class
            return len(tokenizer.tokenizer(text, add_special_tokens=False, verbose=False).input_ids) + 3
        return len(tokenizer.tokenizer(text, verbose=False).input_ids)

    def embed_texts(self, texts: Sequence[str], is_cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
        """Unit vectors, float32 [len(texts), dimension].

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """
        return self._embed(texts, self._tokenizer, self._model.encode_text, is_cancelled)

    def embed_images(
        self, images: Iterable[Image.Image], is_cancelled: Callable[[], bool] = lambda: False
    ) -> np.ndarray:
        """Unit vectors, float32 [number of images, dimension]; only one of the pictures is held at a time.

        Raises:
            Cancelled: `is_cancelled()` was true between two batches.
        """
        import torch

        def join(batch: list[torch.Tensor]) -> torch.Tensor:
            return torch.stack(batch).to(self._dtype)

        seen = (self._preprocess(_middle(image)) for image in images)
        return self._embed(seen, join, self._model.encode_image, is_cancelled)

    def _embed(
        self,
        inputs: Iterable[Any],
        join: Callable[[list[Any]], torch.Tensor],
        encode: Callable[[torch.Tensor], torch.Tensor],
        is_cancelled: Callable[[], bool],
    ) -> np.ndarray:
        import torch

        vectors = [np.empty((0, self._dimension), np.float32)]
        left = iter(inputs)
        with devices.inference(), torch.inference_mode():
            while not is_cancelled():
                batch = list(islice(left, self.options.max_batch))
                if not batch:
                    return np.concatenate(vectors)
                encoded = encode(join(batch).to(self._device))
                vectors.append(torch.nn.functional.normalize(encoded.float(), dim=-1).cpu().numpy())
        raise Cancelled

    def _load(self) -> None:
        self._device, self._dtype = devices.prepare_torch(self.entry)
        name = self._open_clip_name()

        import open_clip
        import torch

        self._model, self._preprocess = open_clip.create_model_from_pretrained(
            name, pretrained=self.options.pretrained, precision=_PRECISIONS[str(self._dtype)], device=self._device
        )
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)
        with torch.inference_mode():
            self._dimension = self._model.encode_text(self._tokenizer(["a"]).to(self._device)).shape[-1]

    @classmethod
    def _takes_whole_repository(cls, entry: ModelEntry) -> bool:
        return entry.revision is not None  # as below

    def _open_clip_name(self) -> str:
        checkpoint = self.entry.checkpoint
        folder = checkpoints.local_folder(checkpoint.removeprefix("local-dir:"))
        if folder is not None:
            if not (folder / "open_clip_config.json").is_file():
                raise CheckpointError(f"{checkpoint!r} has no open_clip_config.json: it is not an open_clip checkpoint")
            return f"local-dir:{folder}"
        hub_id = checkpoint.removeprefix("hf-hub:")
        if "/" in hub_id:
            if self.entry.revision is None:
                return f"hf-hub:{hub_id}"
            from huggingface_hub import snapshot_download  # open_clip itself takes no revision

            return f"local-dir:{snapshot_download(hub_id, revision=self.entry.revision)}"
        if self.options.pretrained is None:
            raise CheckpointError(f"{checkpoint!r} is an architecture: options.pretrained must name its weights")
        return checkpoint

    def _modules(self) -> Sequence[Any]:
        return [self._model]

    def _warm_up(self) -> None:
        from PIL import Image

        self.embed_texts(["a"])
        self.embed_images([Image.new("RGB", (64, 64))])


def _middle(picture: Image.Image) -> Image.Image:
    """What CLIP sees of a picture, and somewhat more: a line of 1x8000 pixels would become gigabytes.

    Its preprocessing brings the shorter side to the model's own and cuts a square from the middle.
    """
    width, height = picture.size
    longest = _MOST_ASPECT * min(width, height)
    if max(width, height) <= longest:
        return picture
    left, top = max(0, (width - longest) // 2), max(0, (height - longest) // 2)
    return picture.crop((left, top, min(width, left + longest), min(height, top + longest)))
