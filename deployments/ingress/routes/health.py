"""Whether the server lives, and whether it can serve."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from fastapi import APIRouter
from ray.exceptions import RayError
from starlette.responses import JSONResponse

from deployments.ingress.dependencies import Atelier, AtelierDep
from deployments.ingress.policy import policy
from models.kinds import Kind
from stores.errors import StoreError

_STATE_SECONDS: Final = 1.0

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The server answers")
async def healthz() -> dict[str, Any]:
    """Says ok as long as the ingress answers at all; asks nothing else."""
    return {"status": "ok", "timestamp": int(time.time())}


@router.get("/readyz", summary="Every part can serve")
@policy(errors="detail inside")
async def readyz(atelier: AtelierDep) -> JSONResponse:
    """200 when every configured part can serve, else 503. A model at zero replicas that can start is ready."""
    standings = await atelier.models.standings()
    states = {alias: standing.state for alias, standing in standings.items()}
    kinds = {alias: entry.kind for alias, entry in atelier.models.entries.items()}

    def can_serve(kind: Kind) -> bool:
        mine = [states[alias] for alias, k in kinds.items() if k == kind]
        return bool(mine) and "failed" not in mine

    search = await _search_state(atelier)
    is_up = can_serve("clip") and search["state"] in ("ready", "embedding", "busy")
    ready = "failed" not in states.values() and (is_up or atelier.search is None)
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


async def _search_state(atelier: Atelier) -> dict[str, Any]:
    """What image search says of itself; `off`, `starting` or `failed` where nothing can be asked.

    One that does not answer within a second has much to do, and is not taken for dead: `busy`.
    """
    if atelier.search is None:
        return {"state": "off"}
    if not await atelier.models.known.search_can_serve():
        return {"state": "starting"}
    try:
        state: dict[str, Any] = await asyncio.wait_for(_told(atelier.search.state.remote()), _STATE_SECONDS)
    except TimeoutError:
        return {"state": "busy"}
    except (RayError, StoreError):
        return {"state": "failed"}
    return state


async def _told(answer: Any) -> Any:
    return await answer
