"""The whole wiring, on one screen: one deployment per model alias, one for search, one ingress.

`serve run serve_config.yaml` calls `build` with what stands under `args:`.
"""

from __future__ import annotations

import os
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

import settings as configuration
from deployments.captioning import Captioning
from deployments.embedding import Embedding
from deployments.imaging import Imaging
from deployments.ingress.deployment import Ingress
from deployments.logs import logging_options
from deployments.residency.policy import ACCELERATOR_LABEL
from deployments.search.deployment import Model, Search
from deployments.search.embedders import embedder_of
from deployments.storage import open_backups, open_index, open_store
from deployments.transcription import Transcription
from deployments.vision import Vision
from deployments.voice import Voice
from deployments.warm_router import WarmRouter
from models.catalog import engine_class, estimated_bytes
from models.entry import ModelEntry
from models.kinds import Kind
from settings import Settings
from stores.footprints import Footprints

_DEPLOYMENTS: dict[Kind, type] = {
    "image": Imaging,
    "vlm": Vision,
    "captioner": Captioning,
    "clip": Embedding,
    "voice": Voice,
    "asr": Transcription,
}

_LOOK_AGAIN_SECONDS = 0.5
"""How often a stopping replica looks whether its requests have ended; Serve's 2 s would add up over three levels."""

_COUNT_SECONDS = 0.5
"""How often Serve counts waiting requests: a model that has just left is started again for those it counted before."""

_LONGEST_REQUEST_SECONDS = 600
"""How long what leaves may go on with what it has begun; Serve's 20 s would end long pictures and waits for them."""


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
        num_replicas=settings.ingress.replicas,
        max_ongoing_requests=1000,
        graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
        graceful_shutdown_timeout_s=_LONGEST_REQUEST_SECONDS,
        ray_actor_options={"num_cpus": 0},
        **logging_options(settings),
    )
    return ingress.bind(settings, models, search)


def _model(alias: str, entry: ModelEntry, settings: Settings) -> Application:
    needs = {"memory": _memory(entry, settings), "gpus": entry.gpus, "accelerator": entry.accelerator or ""}
    return (
        serve.deployment(_DEPLOYMENTS[entry.kind])
        .options(
            name=alias,
            max_ongoing_requests=entry.max_ongoing,
            # What the ingress sends ahead for a replica that is not there yet, or no more, waits in Serve.
            max_queued_requests=entry.max_queued + entry.max_ongoing * (entry.replicas.max - 1),
            autoscaling_config=_autoscaling(entry, needs, settings),
            request_router_config=_router(entry),
            graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
            graceful_shutdown_timeout_s=_LONGEST_REQUEST_SECONDS,
            # No share of a core: a model works only while it answers, and may then use every core.
            ray_actor_options={
                "num_cpus": 0,
                "num_gpus": needs["gpus"],
                "memory": needs["memory"] or None,
                "label_selector": {ACCELERATOR_LABEL: entry.accelerator} if entry.accelerator else {},
                "runtime_env": _runtime_env(engine_class(entry.engine).environment),
            },
            **logging_options(settings),
        )
        .bind(alias, entry, settings.residency.capacity)
    )


def _router(entry: ModelEntry) -> RequestRouterConfig:
    """Serve's own where there is nothing to choose."""
    return RequestRouterConfig(request_router_class=WarmRouter) if entry.replicas.max > 1 else RequestRouterConfig()


def _memory(entry: ModelEntry, settings: Settings) -> int:
    """Bytes that a replica takes: as configured, else as measured and somewhat more to work with, else estimated.

    No more than all models together may take, or it could not be loaded to be measured again.
    """
    if entry.memory is not None:
        return entry.memory
    measured = Footprints(settings.footprints).get(entry.identity)
    taken = estimated_bytes(entry) if measured is None else int(measured * 1.15)
    most = configuration.memory_for_models(settings.models)
    return taken if most is None else min(taken, most)


def _autoscaling(entry: ModelEntry, needs: dict[str, Any], settings: Settings) -> AutoscalingConfig:
    """When it starts and leaves is decided by deployments/residency/policy.py: nothing is delayed here."""
    with warnings.catch_warnings():
        # Serve says that variables of the environment will replace it, but does not read them yet.
        warnings.filterwarnings("ignore", ".*metrics_interval_s", DeprecationWarning)
        return AutoscalingConfig(
            min_replicas=0,
            initial_replicas=entry.replicas.min if entry.keep or entry.preload else 0,
            max_replicas=entry.replicas.max,
            target_ongoing_requests=entry.target_ongoing,
            metrics_interval_s=_COUNT_SECONDS,
            look_back_period_s=2 * _COUNT_SECONDS,
            upscale_delay_s=0,
            downscale_delay_s=0,
            policy=AutoscalingPolicy(policy_kwargs=_residency(entry, needs, settings)),
        )


def _residency(entry: ModelEntry, needs: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The residency policy's arguments for a model; see `deployments.residency.policy.Residency`."""
    rules = settings.residency
    return {
        "needs": needs,
        "scale": {
            "least": entry.replicas.min,
            "most": entry.replicas.max,
            "target_ongoing": entry.target_ongoing,
        },
        "keep": entry.keep,
        "preload": entry.preload,
        "max_requests": rules.max_requests,
        "footprint": {"file": str(settings.footprints), "identity": entry.identity},
        "rules": {
            "idle_timeout": settings.idle_timeout,
            "quiet": rules.quiet,
            "min_residence": rules.min_residence,
            "patience": rules.patience,
            "capacity": rules.capacity,
        },
    }


def _runtime_env(environment: str | None) -> dict[str, Any]:
    """What `deploy/environment.sh` has installed comes before the server's packages, in the model's process alone.

    This folder is named again: on a cluster it may be known from Serve's controller only, whose variable this replaces.
    """
    if environment is None:
        return {}
    folder = Path(sys.prefix) / "environments" / environment
    return {"env_vars": {"PYTHONPATH": os.pathsep.join((str(folder), str(Path(__file__).parent), "${PYTHONPATH}"))}}


def _search(settings: Settings, embedder: Application) -> Application:
    search = settings.search
    configured = embedder_of(settings.models[search.embedder])
    with_backups = search.backup_enabled and search.database_url is None
    return (
        serve.deployment(Search)
        .options(
            name="search",
            num_replicas=search.replicas,
            # The ingress gives the turns; this is above what it sends, of all kinds and by several ingress replicas.
            max_ongoing_requests=8 * search.max_ongoing,
            graceful_shutdown_wait_loop_s=_LOOK_AGAIN_SECONDS,
            ray_actor_options={"num_cpus": 0.1},
            **logging_options(settings),
        )
        .bind(
            partial(open_store, settings),
            partial(open_index, settings, configured),
            configured,
            embedder,
            Model(search.embedder, settings.start_timeout),
            partial(open_backups, settings) if with_backups else None,
            search.database_in(settings.folder) if search.database_url is None else None,
            search.backup_interval_seconds,
        )
    )
