"""How far a picture is, what became of it, and stopping it (docs/http-api.md, "Jobs")."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from deployments.ingress.dependencies import AtelierDep
from deployments.ingress.middleware.access import caller_of
from deployments.ingress.responses.sse import EventStream, StartedStream

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}", summary="How far a picture is")
async def show(request: Request, atelier: AtelierDep, job_id: str) -> Response:
    """State, progress 0-1 and a preview of a request's work, by its `x-request-id`.

    Of one that was sent with `Prefer: respond-async` also its `result` once it is done, or the `error`.
    """
    return Response(await atelier.jobs.show(caller_of(request), job_id), media_type="application/json")


@router.get("/{job_id}/events", summary="A picture as it comes into being", response_class=Response)
async def events(request: Request, atelier: AtelierDep, job_id: str) -> Response:
    """The events of a request that was sent with `Prefer: respond-async`: what there is, then what follows."""
    outcome = await atelier.jobs.follow(caller_of(request), job_id)
    outcome.refuse_more_followers()
    stream = StartedStream(outcome.follow())
    return EventStream(outcome.asked.events(aiter(stream)), stream)


@router.delete("/{job_id}", summary="Stop making a picture")
async def cancel(request: Request, atelier: AtelierDep, job_id: str) -> dict[str, Any]:
    """Stop the work within one step; the request that began it is answered with 400 `cancelled`."""
    return await atelier.jobs.stop(caller_of(request), job_id)
