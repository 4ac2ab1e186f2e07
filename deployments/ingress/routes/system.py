"""What is loaded, and loading and unloading it by hand (docs/http-api.md, "Models and system")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import psutil
from fastapi import APIRouter
from starlette.requests import Request

from deployments import serve_internals
from deployments.executors import CONTROL_PLANE
from deployments.ingress.calls import manual_controls
from deployments.ingress.calls.states import Reason, Standing
from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.errors import ApiError
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.policy import policy
from deployments.residency.board import ReplicaStatus
from deployments.states import ModelState, ReplicaState
from models.entry import ModelEntry

router = APIRouter(prefix="/v1/system", tags=["system"])

_GB: Final = 1e9


@router.get("/status", summary="What is loaded")
@policy(only_looks=True)
async def status(atelier: AtelierDep) -> dict[str, Any]:
    """The models that are loaded or being loaded, what waits for image search, the memory, and when models leave."""
    standings = await atelier.models.standings()
    entries = atelier.models.entries
    workers = {
        alias: _worker(entries[alias], standing) for alias, standing in standings.items() if standing.facts is not None
    }
    memory = psutil.virtual_memory()
    settings = atelier.settings
    return {
        "workers": workers,
        "image_search": atelier.search.queues if atelier.search else None,
        "known_seconds_ago": round(atelier.models.known.age, 1),
        "memory": {
            "total_gb": _gb(memory.total),
            "used_gb": _gb(memory.total - memory.available),
            "available_gb": _gb(memory.available),
            "used_percent": memory.percent,
            "usage_percent": memory.percent,
            "models_loaded_gb": round(sum(worker["memory_gb"] for worker in workers.values()), 3),
        },
        "config": {
            "idle_timeout_seconds": settings.idle_timeout,
            "max_requests_before_restart": settings.residency.max_requests,
            "safety_margin_gb": _gb(max(0, memory.total - await atelier.models.known.memory_for_models())),
        },
        "dashboard": await CONTROL_PLANE.run(serve_internals.dashboard_url),
        **_of_replica(),
    }


@router.get("/requests", summary="Recent requests")
@policy(only_looks=True)
async def requests(request: Request, atelier: AtelierDep) -> dict[str, Any]:
    """The caller's latest requests to this process that made something or looked something up; for an admin, all."""
    caller = caller_of(request)
    found = atelier.recent_requests.of(None if caller.is_admin else caller.owner)
    return {"requests": [each.shown(with_caller=caller.is_admin) for each in found], **_of_replica()}


@router.post("/load/{alias}", summary="Load a model")
@policy(audience="admins")
async def load(atelier: AtelierDep, alias: str) -> dict[str, Any]:
    """Return once the model is ready. Others that are idle make room for it, as they would for a request."""
    _require(atelier.models.entries, alias)
    seconds = await manual_controls.load(atelier.models, alias)
    return {"status": ModelState.READY, "alias": alias, "seconds": round(seconds, 3)}


@router.post("/evict/{alias}", summary="Unload a model")
@policy(audience="admins")
async def evict(atelier: AtelierDep, alias: str) -> dict[str, Any]:
    """Return once the model is gone; what it works on ends first, and what waits for it loads it again."""
    _require(atelier.models.entries, alias)
    await manual_controls.evict(atelier.models, alias)
    return {"status": "evicted", "alias": alias}


def _of_replica() -> dict[str, int]:
    """Which ingress replica answers, where there are several."""
    number = serve_internals.replica_number()
    return {} if number is None else {"ingress": number}


def _require(entries: Mapping[str, ModelEntry], alias: str) -> None:
    if alias not in entries:
        raise ApiError(
            404,
            f"alias: there is no model {alias[:100]!r}; there are: {', '.join(entries)}",
            code="model_not_found",
            param="alias",
        )


def _worker(entry: ModelEntry, standing: Standing) -> dict[str, Any]:
    """A loaded model: its replicas together, then each of them."""
    newest, replicas = standing.facts, [_replica(each) for each in standing.replicas]
    assert newest is not None
    return {
        "model_path": entry.checkpoint,
        "model_type": entry.kind,
        "memory_gb": round(sum(each["memory_gb"] for each in replicas), 3),
        "uptime_seconds": max(each["uptime_seconds"] for each in replicas),
        "idle_seconds": min(each["idle_seconds"] for each in replicas),
        "request_count": sum(each["request_count"] for each in replicas),
        "pid": newest.pid,
        "state": ReplicaState.DOWNLOADING if standing.why is Reason.DOWNLOADING else standing.state,
        "downloaded_bytes": newest.downloaded_bytes,
        "download_bytes": newest.download_bytes,
        "queue": standing.queue + sum(max(0, each.active - 1) for each in standing.replicas),
        "loads": standing.verdict.loads,
        "evictions": standing.verdict.evictions,
        "reason": standing.reason,
        "replicas": replicas,
    }


def _replica(facts: ReplicaStatus) -> dict[str, Any]:
    now = time.time()
    is_on_its_way = facts.state in (ReplicaState.DOWNLOADING, ReplicaState.LOADING)
    return {
        "pid": facts.pid,
        "node": facts.node,
        "gpus": list(facts.gpus),
        "state": facts.state,
        "memory_gb": _gb(facts.resident_bytes),
        "uptime_seconds": round(max(0.0, now - facts.since), 1),
        "idle_seconds": 0.0 if facts.active or is_on_its_way else round(max(0.0, now - facts.used_at), 1),
        "request_count": facts.requests,
        "active": facts.active,
    }


def _gb(count: float) -> float:
    return round(count / _GB, 3)
