"""Fields of the picture routes (docs/http-api.md, "Pictures, OpenAI's routes").

Whatever the dialect, a route's body becomes one of these; a field that several routes have is written once.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deployments.ingress.errors import invalid
from deployments.ingress.requests.body import Fields, Upload
from deployments.ingress.requests.pictures import ImageReference, ImageSource

MAX_SEED = 2**53 - 1
MAX_PROMPT = 32_000
"""Characters."""
MAX_IMAGES = 16
MAX_N = 10
_SIZE = "`auto` or WIDTHxHEIGHT, multiples of 16 from 64 to 2048"
_QUALITY_NAMES = {"auto": "medium", "standard": "medium", "hd": "high"}
Quality = Annotated[
    Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
    AfterValidator(lambda quality: _QUALITY_NAMES.get(quality, quality)),
]
"""What OpenAI's models have called it; read as one of low, medium, high, xhigh and max."""

ALIASES = {"num_inference_steps": "steps", "guidance_scale": "guidance"}
"""Other spellings (docs/http-api.md, "Requests")."""
OLD_ALIASES = {name: other for other, name in ALIASES.items()}
"""The same for the routes of families C and D, whose own spellings are the long ones."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


ImageSources = Annotated[list[ImageSource], BeforeValidator(_as_list), Field(min_length=1, max_length=MAX_IMAGES)]


class Lora(Fields):
    """An adapter by its configured name."""

    name: str
    weight: float = Field(1.0, ge=-4, le=4)


class Drawing(Fields):
    """What every picture route takes. Fields named as in `ImageJob` (or an alias of such) say how it is drawn."""

    neutral: ClassVar = {"seed": (-1, "-1"), "size": ("",)}

    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="image i of n uses seed + i; chosen when absent")
    size: str = Field("auto", description=_SIZE)
    width: int | None = None
    height: int | None = None

    @property
    def says_size(self) -> bool:
        """Whether the caller wants a size of their own."""
        return self.size != "auto" or self.width is not None or self.height is not None


class _Pictures(Drawing):
    """What the three OpenAI routes have in common."""

    model: str | None = Field(None, description="alias; the default image model when absent")
    n: int = Field(1, ge=1, le=MAX_N)
    steps: int | None = Field(None, ge=1, le=150, description="goes before what `quality` says")
    guidance: float | None = Field(None, ge=0, le=20)
    negative_prompt: str | None = Field(None, max_length=32_000)
    loras: list[Lora] = Field(default_factory=list)
    quality: Quality = Field(
        "auto",
        validate_default=True,
        description="low halves the steps, high takes 1.5 times as many, xhigh and max 2",
    )
    response_format: Literal["b64_json", "url"] | None = None
    background: Literal["auto", "opaque", "transparent"] = "auto"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: int = Field(100, ge=0, le=100, description="quality of JPEG and WebP")
    stream: bool = False
    partial_images: int = Field(0, ge=0, le=3, description="pictures sent midway, where there are events")
    embed_parameters: bool = Field(False, description="write into the file what the picture was made of")
    user: str | None = None
    safety_identifier: str | None = None


class Generation(_Pictures):
    """`POST /v1/images/generations`."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT, examples=["a big red circle on a blue background"])
    moderation: Literal["auto", "low"] = "auto"
    style: Literal["vivid", "natural"] | None = None


class Edit(_Pictures):
    """`POST /v1/images/edits`: `image` (one or several) or OpenAI's `images`."""

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT, examples=["make the circle yellow"])
    image: ImageSources | None = None
    images: list[ImageReference] | None = Field(None, min_length=1, max_length=MAX_IMAGES)
    mask: ImageSource | None = Field(None, description="PNG of the first image's size; alpha 0 = may change")
    strength: float | None = Field(None, ge=0, le=1, description="0 = the original, 1 = all new; absent = instruction")
    moderation: Literal["auto", "low"] = "auto"

    @model_validator(mode="after")
    def _one_way_to_say_which(self) -> Self:
        if self.image is not None and self.images is not None:
            raise invalid("images", "image and images say the same; give one of them")
        if self.image is None and self.images is None:
            raise invalid("image", "image is required", "missing_required_parameter")
        return self

    @property
    def sources(self) -> list[ImageSource]:
        """The pictures, however they were named."""
        return list(self.images or self.image or [])


class Variation(_Pictures):
    """`POST /v1/images/variations`."""

    image: ImageSource
    strength: float | None = Field(
        None, ge=0, le=1, description="0 = the original, 1 = all new; the model's own when absent"
    )


class OnePicture(Drawing):
    """`POST /v1/images/generate`: a prompt, or a title and a description that become one."""

    prompt: str | None = Field(None, min_length=1, max_length=2000)
    title: str | None = Field(None, min_length=1, max_length=200)
    description: str | None = Field(None, min_length=1, max_length=4000)
    num_inference_steps: int | None = Field(None, ge=1, le=50)
    guidance_scale: float | None = Field(None, ge=0, le=20)
    seed: int | None = Field(42, ge=0, le=MAX_SEED)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.prompt is not None and (self.title is not None or self.description is not None):
            raise invalid("prompt", "give either prompt, or title and description")
        if self.prompt is None:
            for name in ("title", "description"):
                if getattr(self, name) is None:
                    missing = "prompt" if self.title is None and self.description is None else name
                    raise invalid(missing, "prompt is required, or title and description", "missing_required_parameter")
        return self

    @property
    def titled(self) -> tuple[str, str] | None:
        """Title and description, where they are given instead of a prompt."""
        return None if self.title is None or self.description is None else (self.title, self.description)


class StoredPicture(OnePicture):
    """`POST /v1/r2/images/generate`."""

    key: str | None = Field(None, min_length=1, description="where it is kept; images/generated/{uuid}.png when absent")


class Process(Drawing):
    """`POST /process` and `/process/raw`: a form, where an empty text is what was left out."""

    input_image_url: str | None = None
    input_file: Upload | None = None
    prompt: str | None = Field(None, max_length=32_000)
    bearer_token: str | None = Field(None, description="sent to the host of input_image_url only")
    guidance_scale: float | None = Field(None, ge=0, le=20)
    num_inference_steps: int | None = Field(None, ge=1, le=150)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, values: Any) -> Any:
        return {name: v for name, v in values.items() if v != ""} if isinstance(values, dict) else values
