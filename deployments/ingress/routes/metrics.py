"""`GET /metrics`: what Prometheus reads."""

from __future__ import annotations

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.responses import Response

from deployments import serve_internals
from deployments.ingress.calls.states import SEARCH
from deployments.ingress.dependencies import AtelierDep

router = APIRouter(tags=["health"])


@router.get("/metrics", summary="Numbers for Prometheus", response_class=Response)
async def scrape(atelier: AtelierDep) -> Response:
    """All numbers of this ingress replica as Prometheus' text. Wakes no model, and keeps none awake.

    Where there are several ingress replicas, a label names the one that was reached.
    """
    facts = await atelier.models.facts()
    if atelier.search is not None:
        facts[SEARCH] = await atelier.search.facts()
    number = serve_internals.replica_number()
    labels = {"ingress": str(number)} if number is not None else {}
    return Response(atelier.metrics.render(facts, labels), media_type=CONTENT_TYPE_PLAIN_0_0_4)
