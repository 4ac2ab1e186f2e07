"""One file a family of routes: each parses, calls one service and answers. `FAMILIES` lists them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from fastapi import APIRouter

from deployments.ingress.policy import Policy
from deployments.ingress.routes import (
    captions,
    chat,
    cloned_speech,
    embeddings,
    files,
    health,
    images,
    jobs,
    messages,
    metrics,
    models,
    process,
    responses,
    search,
    speech,
    studio,
    system,
    transcriptions,
    uploads,
    vision,
    voices,
)


@dataclass(frozen=True)
class Family:
    """The routes of a file, what holds for them, and the setting that switches them off where there is one."""

    router: APIRouter
    policy: Policy = field(default_factory=Policy)
    feature: Literal["image_enabled", "image_search_enabled", "voice_enabled"] | None = None


FAMILIES: Final = (
    Family(studio.router, Policy("anyone")),
    Family(health.router, Policy("anyone")),
    Family(metrics.router, Policy(only_looks=True)),
    Family(models.router, Policy(only_looks=True)),
    Family(system.router, Policy(errors="detail on top", is_repeatable=False)),
    Family(files.router, Policy("anyone")),
    Family(uploads.router, Policy(errors="detail on top", stores=True)),
    Family(chat.router),
    Family(responses.router),
    Family(messages.router, Policy(errors="anthropic")),
    Family(vision.router, Policy(errors="detail on top")),
    Family(captions.router),
    Family(images.router, feature="image_enabled"),
    Family(process.router, Policy(errors="detail on top"), feature="image_enabled"),
    Family(jobs.router, Policy(only_looks=True), feature="image_enabled"),
    Family(cloned_speech.router, Policy(errors="detail inside"), feature="voice_enabled"),
    Family(speech.router, feature="voice_enabled"),
    Family(transcriptions.router),
    Family(voices.router, Policy(stores=True), feature="voice_enabled"),
    Family(search.router, Policy(errors="detail inside", stores=True), feature="image_search_enabled"),
    Family(embeddings.router, Policy(is_repeatable=False), feature="image_search_enabled"),
)
"""All families. Where two routes take one path, the one that stands first answers."""
