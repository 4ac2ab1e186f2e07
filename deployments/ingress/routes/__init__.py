"""One file a family of routes: each parses, calls one service and answers. `FAMILIES` lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fastapi import APIRouter

from deployments.ingress.routes import (
    captions,
    chat,
    cloned_speech,
    embeddings,
    files,
    health,
    images,
    jobs,
    metrics,
    models,
    process,
    search,
    speech,
    system,
    uploads,
    vision,
    voices,
)


@dataclass(frozen=True)
class Family:
    """The routes of a file, and the setting that switches them off where there is one."""

    router: APIRouter
    feature: Literal["image_enabled", "image_search_enabled", "voice_enabled"] | None = None


FAMILIES: Final = (
    Family(health.router),
    Family(metrics.router),
    Family(models.router),
    Family(system.router),
    Family(files.router),
    Family(uploads.router),
    Family(chat.router),
    Family(vision.router),
    Family(captions.router),
    Family(images.router, "image_enabled"),
    Family(process.router, "image_enabled"),
    Family(jobs.router, "image_enabled"),
    Family(cloned_speech.router, "voice_enabled"),
    Family(speech.router, "voice_enabled"),
    Family(voices.router, "voice_enabled"),
    Family(search.router, "image_search_enabled"),
    Family(embeddings.router, "image_search_enabled"),
)
"""All families. Where two routes take one path, the one that stands first answers."""
