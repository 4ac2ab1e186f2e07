"""The model entry: what a configuration says of one alias."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from models.checkpoints import local_folder
from models.engine import Engine, ImageEngine
from models.mistakes import BELOW, first_mistake
from models.tasks import ImageJob

Kind = Literal["image", "vlm", "captioner", "clip", "voice"]
EngineName = Literal[
    "diffusion",
    "diffusion_mlx",
    "vlm",
    "moondream",
    "vlm_mlx",
    "upstream",
    "captioner",
    "clip",
    "espeak",
    "pocket_tts",
    "qwen_tts",
    "mlx_audio",
]

_ENGINES: dict[EngineName, tuple[Kind, str]] = {
    "diffusion": ("image", "models.image.diffusion:DiffusionEngine"),
    "diffusion_mlx": ("image", "models.image.diffusion_mlx:MlxDiffusionEngine"),
    "vlm": ("vlm", "models.chat.vlm:TransformersVlmEngine"),
    "moondream": ("vlm", "models.chat.moondream:MoondreamEngine"),
    "vlm_mlx": ("vlm", "models.chat.vlm_mlx:MlxVlmEngine"),
    "upstream": ("vlm", "models.chat.upstream:UpstreamEngine"),
    "captioner": ("captioner", "models.captioner:BlipEngine"),
    "clip": ("clip", "models.clip:OpenClipEngine"),
    "espeak": ("voice", "models.speech.espeak:EspeakEngine"),
    "pocket_tts": ("voice", "models.speech.pocket:PocketTtsEngine"),
    "qwen_tts": ("voice", "models.speech.qwen:QwenTtsEngine"),
    "mlx_audio": ("voice", "models.speech.mlx:MlxSpeechEngine"),
}
"""A new engine is one file in this room and one line here."""


class ImageDefaults(BaseModel):
    """What an image model does when the caller does not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(1024, ge=64, le=2048, multiple_of=16, description="pixels")
    height: int = Field(1024, ge=64, le=2048, multiple_of=16, description="pixels")
    steps: int = Field(28, ge=1, le=150, description="denoising steps")
    guidance: float = Field(3.5, ge=0, le=20, description="guidance scale")
    max_pixels: int = Field(41_943_040, ge=4096, description="width x height x n of one request")


class CaptionDefaults(BaseModel):
    """What the caption routes ask a model when the caller does not say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str | None = Field(
        None, min_length=1, max_length=4000, description="question about a picture; of a captioner, how captions begin"
    )
    collective_prompt: str | None = Field(
        None, min_length=1, max_length=4000, description="question about several pictures together; chat models only"
    )
    flag_prompt: str | None = Field(
        None, min_length=1, max_length=4000, description="question whose yes flags the pictures; chat models only"
    )
    system_prompt: str | None = Field(
        None, min_length=1, max_length=4000, description="what comes before every question; chat models only"
    )


class ModelEntry(BaseModel):
    """One alias: which engine loads which checkpoint, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: EngineName = Field(description="which file of models/ runs it")
    checkpoint: str = Field(description="`builtin:NAME`, a folder, or a hub id")
    revision: str | None = Field(None, description="commit or tag of a hub checkpoint")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="weights in memory")
    threads: int = Field(0, ge=0, description="CPU threads of the engine; 0 = all cores")
    gpus: float = Field(
        0, ge=0, le=16, description="share of a GPU that a replica takes; shares of one GPU add up to 1"
    )
    memory: int | None = Field(
        None,
        ge=0,
        description="bytes of main memory that a replica takes; one that does not fit waits until others have left; "
        "0 = not counted; none = as measured when it was last loaded, until then by the size of its weights",
    )
    keep: bool = Field(False, description="load it at the start and never unload it")
    preload: bool = Field(False, description="load it at the start; it is unloaded like any other")
    max_ongoing: int = Field(8, ge=1, description="requests a replica holds; it works on them in turn")
    max_queued: int = Field(64, ge=1, description="requests that may wait; one more is refused with 429")
    image: ImageDefaults = Field(
        default_factory=lambda: ImageDefaults.model_validate({}), description="defaults of an image model"
    )
    caption: CaptionDefaults = Field(
        default_factory=lambda: CaptionDefaults.model_validate({}), description="prompts of the caption routes"
    )
    licence: str | None = Field(None, max_length=200, description="of the checkpoint, shown in /v1/models")
    options: dict[str, Any] = Field(default_factory=dict, description="what only this engine knows")

    @property
    def known_licence(self) -> str | None:
        """The checkpoint's licence, where it is named or the checkpoint is this project's own."""
        return self.licence or ("Apache-2.0" if self.checkpoint.startswith("builtin:") else None)

    @property
    def kind(self) -> Kind:
        """What the model does."""
        return _ENGINES[self.engine][0]

    @property
    def identity(self) -> str:
        """A name that changes with whatever changes the memory that the model takes."""
        what = self.model_dump(mode="json", include={"engine", "checkpoint", "revision", "device", "dtype", "options"})
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @property
    def environment(self) -> str | None:
        """The name of the packages that its engine needs before the server's own, if any."""
        return engine_class(self.engine).environment

    @model_validator(mode="after")
    def _options_are_known_to_the_engine(self) -> Self:
        known = engine_class(self.engine).Options
        try:
            known.model_validate(self.options)
        except ValidationError as error:
            mistake = first_mistake(error, known, within="options")
            raise PydanticCustomError(BELOW, "{mistake}", {"mistake": mistake}) from error
        return self


def engine_class(name: EngineName) -> type[Engine]:
    """The class behind an engine's name; its module imports nothing heavy."""
    module, attribute = _ENGINES[name][1].split(":")
    found: type[Engine] = getattr(import_module(module), attribute)
    return found


def check_checkpoint(entry: ModelEntry) -> None:
    """Refuse at once what could only fail later: a checkpoint on disk that is missing or of another kind.

    Raises:
        CheckpointError: in one line.
    """
    engine_class(entry.engine).check(entry)


_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".npz")
_LIBRARIES_BYTES: Final = 700_000_000
"""What Python, torch and a model's libraries take by themselves."""


def estimated_bytes(entry: ModelEntry) -> int:
    """What a model on disk will take in main memory, by the size of its weights; 0 when there is nothing to tell by.

    A model on a GPU has its weights there, and one that is yet to be downloaded has none to look at.
    """
    folder = None if entry.gpus or entry.engine == "upstream" else local_folder(entry.checkpoint)
    if folder is None:
        return 0
    weights = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in _WEIGHTS)
    return int(weights * 1.15) + _LIBRARIES_BYTES


def create_engine(entry: ModelEntry) -> Engine:
    """The engine of an entry, not yet loaded."""
    return engine_class(entry.engine)(entry)


def refuse_impossible(entry: ModelEntry, job: ImageJob) -> None:
    """Refuse a job for an image model that could only fail later, in a queue or after a long load.

    Raises:
        InvalidInput: it names the field.
    """
    found = engine_class(entry.engine)
    assert issubclass(found, ImageEngine)
    found.refuse(entry, job)
