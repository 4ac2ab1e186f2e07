"""Loading and unloading models by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

from deployments import serve_internals
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.calls.model_handle import NO_RETRY
from deployments.ingress.calls.states import ANSWER_SECONDS
from deployments.ingress.errors import ApiError
from deployments.residency.board import ReplicaStatusStore
from deployments.states import ReplicaState

_LOOK_SECONDS: Final = 0.25
_LONGEST_EVICTION_SECONDS: Final = 600.0


async def load(models: ModelCalls, alias: str) -> float:
    """Load a model, ahead of all requests that wait for it; the seconds that it took. Errors as in `call`."""
    begun = time.monotonic()
    await models.handle(alias).call("ready")
    models.known.expire()
    return time.monotonic() - begun


async def evict(models: ModelCalls, alias: str) -> None:
    """Return once the model's replicas are gone, whose running requests end first.

    Raises:
        ApiError: 404 when it is not loaded, 409 when it is one that is always kept.
    """
    if models.entries[alias].keep:
        message = f"the model {alias!r} is configured to be kept (keep: true)"
        raise ApiError(409, message, code="model_kept", headers=NO_RETRY)
    ask, store = models.known.ask, ReplicaStatusStore(serve_internals.application_name())
    standing = (await models.known.standings(at_most=0.0, patience=ANSWER_SECONDS))[alias]
    leaving = {each.replica for each in standing.replicas if each.state != ReplicaState.WAITING}
    if not leaving:
        raise ApiError(404, f"the model {alias!r} is not loaded", code="model_not_loaded")
    for replica in sorted(leaving):
        await ask(store.ask_to_leave, replica)
    deadline = time.monotonic() + _LONGEST_EVICTION_SECONDS
    while await ask(_are_there, store, leaving):
        if time.monotonic() > deadline:
            message = f"the model {alias!r} is still at work; it leaves as soon as that is done"
            raise ApiError(503, message, code="model_busy", headers={"Retry-After": "60"})
        await asyncio.sleep(_LOOK_SECONDS)
    models.known.expire()


def _are_there(board: ReplicaStatusStore, replicas: Collection[str]) -> bool:
    return any(each.replica in replicas for each in board.facts())
