"""Whether the server lives, and whether it can serve."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from deployments.ingress.roster import State
from models.catalog import Kind

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The server answers")
async def healthz() -> dict[str, Any]:
    """Says ok as long as the ingress answers at all; asks nothing else."""
    return {"status": "ok", "timestamp": int(time.time())}


@router.get("/readyz", summary="Every part can serve")
async def readyz(request: Request) -> JSONResponse:
    """200 when every configured part can serve, else 503. A model at zero replicas that can start is ready."""
    atelier = request.app.state.atelier
    states: dict[str, State] = await atelier.models.states()
    kinds = {alias: entry.kind for alias, entry in atelier.models.entries.items()}

    def can_serve(kind: Kind) -> bool:
        mine = [states[alias] for alias, k in kinds.items() if k == kind]
        return bool(mine) and "failed" not in mine

    searchable = atelier.search is not None and can_serve("clip") and await atelier.models.search_can_serve()
    ready = "failed" not in states.values() and (searchable or atelier.search is None)
    body = {
        "ready": ready,
        "server_ready": True,
        "models": states,
        "image_search": searchable,
        "image_search_ready": searchable,
        "zimage_turbo_ready": can_serve("image"),
        "qwen3_tts_ready": can_serve("voice"),
    }
    return JSONResponse(body, status_code=200 if ready else 503)
