"""How far a picture is, and stopping it, by the id of the request that makes it (docs/http-api.md, "Jobs")."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from deployments.ingress.dependencies import AtelierDep
from deployments.states import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}", summary="How far a picture is")
async def show(request: Request, atelier: AtelierDep, job_id: str) -> dict[str, Any]:
    """State, progress 0-1 and a preview of a request's work, by its `x-request-id`."""
    return atelier.jobs.find(request, job_id).shown()


@router.delete("/{job_id}", summary="Stop making a picture")
async def cancel(request: Request, atelier: AtelierDep, job_id: str) -> dict[str, Any]:
    """Stop the work within one step; the request that began it is answered with 400 `cancelled`."""
    job = atelier.jobs.find(request, job_id)
    if job.ended_at is None:
        atelier.jobs.end(job, JobState.CANCELLED)
        job.cancelled.set()
    return job.shown()
