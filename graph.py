"""The whole wiring, on one screen: one deployment per model alias, one for search, one ingress.

`serve run serve_config.yaml` calls `build` with what stands under `args:`.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

import settings as configuration
from deployments.captioning import Captioning
from deployments.embedders import embedder_of
from deployments.embedding import Embedding
from deployments.imaging import Imaging
from deployments.ingress.face import Ingress
from deployments.logs import logging_options
from deployments.search import Search
from deployments.storage import open_backups, open_index, open_store
from deployments.vision import Vision
from deployments.voice import Voice
from models.catalog import Kind, ModelEntry
from settings import Settings

_DEPLOYMENTS: dict[Kind, type] = {
    "image": Imaging,
    "vlm": Vision,
    "captioner": Captioning,
    "clip": Embedding,
    "voice": Voice,
}

_LOOK_AGAIN_SECONDS = 0.5
"""How often a stopping replica looks whether its requests have ended; Serve's 2 s would add up over three levels."""


def build(args: dict[str, Any]) -> Application:
    """The application of a configuration.

    Raises:
        ConfigurationError: one line that names the key, the value and what is allowed.
    """
    settings = configuration.validate(args)
    models = {
        alias: _model(alias, entry, settings) for alias, entry in settings.models.items() if settings.is_deployed(alias)
    }
    search = _search(settings, models[settings.search.embedder]) if settings.image_search_enabled else None
    ingress = serve.deployment(Ingress).options(
        name="ingress",
        max_ongoing_requests=1000,
        graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
        ray_actor_options={"num_cpus": 0},
        **logging_options(settings),
    )
    return ingress.bind(settings, models, search)


def _model(alias: str, entry: ModelEntry, settings: Settings) -> Application:
    return (
        serve.deployment(_DEPLOYMENTS[entry.kind])
        .options(
            name=alias,
            max_ongoing_requests=entry.max_ongoing,
            max_queued_requests=entry.max_queued,
            autoscaling_config=AutoscalingConfig(
                min_replicas=0,
                max_replicas=1,
                target_ongoing_requests=entry.max_ongoing,
                upscale_delay_s=0,
                downscale_delay_s=settings.idle_timeout,
            ),
            graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
            # The share of a core is small on purpose: a model works only while it answers, and may then use every core.
            ray_actor_options={
                "num_cpus": 0.1,
                "num_gpus": entry.gpus,
                "memory": entry.memory or None,
                "runtime_env": _runtime_env(entry.environment),
            },
            **logging_options(settings),
        )
        .bind(alias, entry)
    )


def _runtime_env(environment: str | None) -> dict[str, Any]:
    """What `deploy/environment.sh` has installed comes before the server's packages, in the model's process alone."""
    if environment is None:
        return {}
    folder = Path(sys.prefix) / "environments" / environment
    return {"env_vars": {"PYTHONPATH": f"{folder}{os.pathsep}${{PYTHONPATH}}"}}


def _search(settings: Settings, embedder: Application) -> Application:
    search = settings.search
    configured = embedder_of(settings.models[search.embedder])
    with_backups = search.backup_enabled and search.database_url is None
    return (
        serve.deployment(Search)
        .options(
            name="search",
            num_replicas=search.replicas,
            max_ongoing_requests=64,
            graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
            ray_actor_options={"num_cpus": 0.1},
            **logging_options(settings),
        )
        .bind(
            partial(open_store, settings),
            partial(open_index, settings, configured),
            configured,
            embedder,
            partial(open_backups, settings) if with_backups else None,
            search.database_in(settings.folder) if with_backups else None,
            search.backup_interval_seconds,
        )
    )
