"""The least that a request to a model can cost here: an ingress that hands a JSON object to a model, which returns it.

`serve run` starts `app`; `bench.fleet` compares it with the same in LitServe.
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
class Model:
    """Returns what it is given."""

    async def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        """The same object."""
        return {"output": given["input"]}


@serve.deployment(max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0})
@serve.ingress()
class Ingress:
    """One route, as the real ingress has many."""

    def __init__(self, model: DeploymentHandle) -> None:
        self._model = model

    def __serve_build_asgi_app__(self) -> Starlette:
        """The application."""
        return Starlette(routes=[Route("/predict", self.predict, methods=["POST"])])

    async def predict(self, request: Request) -> JSONResponse:
        """What the model makes of the body."""
        return JSONResponse(await self._model.predict.remote(await request.json()))


app = Ingress.bind(Model.bind())  # type: ignore[attr-defined]
