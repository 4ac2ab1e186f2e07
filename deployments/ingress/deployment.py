"""The ingress deployment: holds the handles, serves the ASGI application."""

from __future__ import annotations

import gc
from collections.abc import Mapping

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.search_calls import SearchCalls
from deployments.ingress.dependencies import Atelier
from deployments.serve_internals import log_request_ids, read_bodies_as_they_are_asked_for
from deployments.storage import open_store
from settings import Settings


@serve.ingress()
class Ingress:
    """One HTTP face over all models. It computes nothing itself."""

    def __init__(
        self, settings: Settings, models: Mapping[str, DeploymentHandle], search: DeploymentHandle | None
    ) -> None:
        log_request_ids()
        read_bodies_as_they_are_asked_for()
        calls = ModelCalls(settings, models)
        search_calls = SearchCalls(settings, search, calls.known, calls.metrics) if search else None
        self._atelier = Atelier(settings, calls, open_store(settings), search_calls)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, built where the handles are."""
        app = create_app(self._atelier)
        # What is there by now stays. To look through it for garbage would hold every request up for a tenth of a
        # second, whenever Python or Ray thinks of it.
        gc.collect()
        gc.freeze()
        return app
