"""What a model can do and how much of it a request may ask, found out without waking it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES
from deployments.ingress.schemas.embeddings import MAX_EMBEDDED_IMAGES, MAX_INPUTS
from deployments.ingress.schemas.images import MAX_IMAGES, MAX_N
from deployments.ingress.schemas.speech import MAX_CHARACTERS
from deployments.ingress.services.image_jobs import MAX_PIXELS, MAX_SIDE, MIN_SIDE
from models.catalog import embeds_pictures, languages, refuse_impossible, takes_tools
from models.entry import ModelEntry
from models.errors import InvalidInput
from models.kinds import Kind
from models.tasks import ImageJob
from models.transcription.recording import MAX_BYTES, MAX_SECONDS
from settings import Omni

_CAPABILITIES: Final[dict[Kind, tuple[str, ...]]] = {
    "vlm": ("chat", "chat.vision", "caption"),
    "image": (),
    "voice": ("speech", "clone"),
    "captioner": ("caption",),
    "clip": ("embed.text", "embed.image"),
    "asr": ("transcribe",),
}
_LIMITS: Final[dict[Kind, dict[str, Any]]] = {
    "vlm": {"max_images": MAX_CHAT_IMAGES},
    "image": {
        "max_n": MAX_N,
        "min_side": MIN_SIDE,
        "max_side": MAX_SIDE,
        "side_multiple": 16,
        "max_pixels": MAX_PIXELS,
    },
    "voice": {"max_characters": MAX_CHARACTERS},
    "captioner": {},
    "clip": {"max_inputs": MAX_INPUTS, "max_images": MAX_EMBEDDED_IMAGES},
    "asr": {"max_bytes": MAX_BYTES, "max_seconds": MAX_SECONDS},
}
_PICTURE: Final = b""
_JOBS: Final[dict[str, dict[str, Any]]] = {
    "image.generate": {},
    "image.edit": {"images": (_PICTURE,)},
    "image.mask": {"images": (_PICTURE,), "mask": _PICTURE},
    "image.variation": {"images": (_PICTURE,), "is_variation": True},
}
"""A job for each thing that a picture model may be able to do; no picture in it is looked at."""


@dataclass(frozen=True)
class ModelCard:
    """What `/v1/models` says of a model beside its state."""

    capabilities: tuple[str, ...]
    limits: dict[str, Any]
    licence: str | None


def model_card(entry: ModelEntry) -> ModelCard:
    """The card of a model. Looks at its files, so not for an event loop."""
    capabilities, limits = _CAPABILITIES[entry.kind], _LIMITS[entry.kind]
    if entry.kind == "image":
        capabilities = tuple(name for name, job in _JOBS.items() if _is_possible(entry, job))
        limits = {
            **limits,
            "default_size": f"{entry.image.width}x{entry.image.height}",
            "max_images": max(n for n in (0, 1, MAX_IMAGES) if n == 0 or _takes(entry, n)),
            "loras": list(entry.options.get("loras", {})),
        }
    if entry.kind == "vlm" and takes_tools(entry):
        capabilities = (*capabilities, "tools")
    if entry.kind == "clip" and not embeds_pictures(entry):
        capabilities, limits = ("embed.text",), {"max_inputs": MAX_INPUTS}
    if entry.kind == "asr":
        limits = {**limits, "languages": languages(entry)}
    return ModelCard(capabilities, limits, entry.known_licence)


def omni_card(omni: Omni, entries: Mapping[str, ModelEntry]) -> ModelCard:
    """The card of an alias made of others: what it does in a chat. Looks at files, as `model_card`."""
    parts = {kind: model_card(entries[alias]) for kind, alias in omni.parts.items()}
    own = ("chat", "chat.vision", "tools", "image.generate", "image.edit", "speech")
    able = {name for card in parts.values() for name in card.capabilities}
    return ModelCard(tuple(name for name in own if name in able), parts["vlm"].limits, parts["vlm"].licence)


def _takes(entry: ModelEntry, pictures: int) -> bool:
    return _is_possible(entry, {"images": (_PICTURE,) * pictures})


def _is_possible(entry: ModelEntry, job: dict[str, Any]) -> bool:
    usual = entry.image
    try:
        refuse_impossible(entry, ImageJob("", usual.width, usual.height, usual.steps, usual.guidance, seed=0, **job))
    except InvalidInput:
        return False
    return True
