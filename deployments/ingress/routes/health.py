"""Whether the server lives, and whether it can serve."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.policy import policy
from deployments.states import ModelState, SearchState
from models.kinds import Kind

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The server answers")
async def healthz() -> dict[str, Any]:
    """Says ok as long as the ingress answers at all; asks nothing else."""
    return {"status": "ok", "timestamp": int(time.time())}


@router.get(
    "/readyz",
    summary="Every part can serve",
    responses={
        503: {
            "description": "Some part cannot; the same object says which",
            "content": {"application/json": {"schema": {"type": "object", "required": ["ready", "models"]}}},
        }
    },
)
@policy(errors="detail inside")
async def readyz(atelier: AtelierDep) -> JSONResponse:
    """200 when every configured part can serve, else 503. A model at zero replicas that can start is ready."""
    standings = await atelier.models.standings()
    states = {alias: standing.state for alias, standing in standings.items()}
    kinds = {alias: entry.kind for alias, entry in atelier.models.entries.items()}

    def can_serve(kind: Kind) -> bool:
        mine = [states[alias] for alias, k in kinds.items() if k == kind]
        return bool(mine) and ModelState.FAILED not in mine

    search = {"state": SearchState.OFF} if atelier.search is None else await atelier.search.state()
    is_up = can_serve("clip") and search["state"] in (SearchState.READY, SearchState.EMBEDDING, SearchState.BUSY)
    ready = ModelState.FAILED not in states.values() and (is_up or atelier.search is None)
    searchable = is_up and "why" not in search  # for a while nothing can be found, which is no reason to send all away
    body = {
        "ready": ready,
        "server_ready": True,
        "models": states,
        "reasons": {alias: standing.reason for alias, standing in standings.items() if standing.reason},
        "image_search": searchable,
        "image_search_state": search,
        "image_search_ready": searchable,
        "zimage_turbo_ready": can_serve("image"),
        "qwen3_tts_ready": can_serve("voice"),
    }
    return JSONResponse(body, status_code=200 if ready else 503)
