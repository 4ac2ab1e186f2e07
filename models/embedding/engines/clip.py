"""Words and pictures as vectors, from any open_clip model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from models import checkpoints, devices
from models.embedding.engine import EmbeddingEngine, EmbeddingOptions
from models.embedding.pictures import middle
from models.engine import Options
from models.entry import ModelEntry
from models.errors import CheckpointError

if TYPE_CHECKING:
    import torch
    from PIL import Image

_PRECISIONS = {"torch.float32": "fp32", "torch.bfloat16": "bf16", "torch.float16": "fp16"}


class ClipOptions(EmbeddingOptions):
    """What the catalogue entry of a CLIP model can say."""

    pretrained: str | None = Field(
        default=None, description="weights of a checkpoint given by architecture, e.g. laion2b_s34b_b79k for ViT-B-32"
    )


class OpenClipEngine(EmbeddingEngine):
    """An open_clip model with the tokenizer and the pre-processing that belong to it.

    `checkpoint` is a built-in, a folder with `open_clip_config.json`, a hub id (`org/name`), or the name of an
    architecture (`ViT-B-32`) together with the option `pretrained`. Text beyond the model's context is cut off.
    """

    marker: ClassVar[str] = "open_clip_config.json"
    Options: ClassVar[type[Options]] = ClipOptions
    options: ClipOptions

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

    def _encode_texts(self, batch: list[str]) -> np.ndarray:
        return self._encoded(self._model.encode_text, self._tokenizer(batch))

    def _seen(self, image: Image.Image) -> torch.Tensor:
        seen: torch.Tensor = self._preprocess(middle(image))
        return seen

    def _encode_images(self, batch: list[torch.Tensor]) -> np.ndarray:
        import torch

        return self._encoded(self._model.encode_image, torch.stack(batch).to(self._dtype))

    def _encoded(self, encode: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> np.ndarray:
        import torch

        with torch.inference_mode():
            encoded = encode(batch.to(self._device))
            vectors: np.ndarray = torch.nn.functional.normalize(encoded.float(), dim=-1).cpu().numpy()
        return vectors

    def _load(self) -> None:
        self._device, self._dtype = devices.prepare_torch(self.entry)
        name = self._open_clip_name()

        import open_clip

        self._model, self._preprocess = open_clip.create_model_from_pretrained(
            name, pretrained=self.options.pretrained, precision=_PRECISIONS[str(self._dtype)], device=self._device
        )
        self._model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)
        self._context_length = self._tokenizer.context_length
        self._dimension = self._encode_texts(["a"]).shape[-1]

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
