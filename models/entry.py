"""The model entry: what a configuration says of one alias."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from models.kinds import Kind, engines
from models.mistakes import BELOW


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


class Replicas(BaseModel):
    """How many processes may hold a model at once, each with weights of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: int = Field(1, ge=1, le=64, description="replicas of a model that is loaded; with `keep: true` always")
    max: int = Field(
        1, ge=1, le=64, validate_default=True, description="replicas that it may have where there is room for them"
    )
    target_ongoing: float | None = Field(
        None,
        gt=0,
        description="requests, at work and waiting, that one replica is meant for; none = max_ongoing",
    )

    @field_validator("max")
    @classmethod
    def _is_not_below_min(cls, most: int, info: ValidationInfo) -> int:
        least = info.data.get("min", 1)
        if most < least:
            raise ValueError(f"is less than min; allowed: {least} or more")
        return most


class ModelEntry(BaseModel):
    """One alias: which engine loads which checkpoint, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str = Field(description="which file of models/*/engines/ runs it")
    checkpoint: str = Field(description="`builtin:NAME`, a folder, or a hub id")
    revision: str | None = Field(None, description="commit or tag of a hub checkpoint")
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, mps, cuda or cuda:N")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="weights in memory")
    threads: int = Field(0, ge=0, description="CPU threads of the engine; 0 = all cores")
    gpus: float = Field(
        0, ge=0, le=16, description="share of a GPU that a replica takes; shares of one GPU add up to 1"
    )
    accelerator: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$",
        description="only on machines with this kind of GPU, as Ray names it: H100, A100, GeForce-RTX-4090; none = any",
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
    replicas: Replicas = Field(
        default_factory=lambda: Replicas.model_validate({}), description="how many processes may hold it at once"
    )
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
        return engines()[self.engine]

    @property
    def target_ongoing(self) -> float:
        """The requests that one replica is meant for."""
        return self.replicas.target_ongoing or self.max_ongoing

    @property
    def identity(self) -> str:
        """A name that changes with whatever changes the memory that the model takes."""
        what = self.model_dump(mode="json", include={"engine", "checkpoint", "revision", "device", "dtype", "options"})
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    @field_validator("replicas")
    @classmethod
    def _are_reached(cls, replicas: Replicas, info: ValidationInfo) -> Replicas:
        most, target = info.data.get("max_ongoing"), replicas.target_ongoing
        if most is not None and target is not None and target > most:
            mistake = f"target_ongoing: {target:g} is more than max_ongoing; allowed: {most} or less"
            raise PydanticCustomError(BELOW, "{mistake}", {"mistake": mistake})
        return replicas

    @field_validator("engine")
    @classmethod
    def _is_there(cls, name: str) -> str:
        if name not in engines():
            raise ValueError(f"there is no such engine; allowed: {', '.join(engines())}")
        return name
