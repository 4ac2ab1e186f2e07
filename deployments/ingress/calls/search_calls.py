"""The one way to call image search: in turn, within bounds, counted and traced."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from deployments import tracing
from deployments.ingress.admission.admission import Admission
from deployments.ingress.calls.model_handle import ModelHandle
from deployments.ingress.calls.single_flight import SingleFlight
from deployments.ingress.calls.states import SEARCH, ModelStates
from deployments.ingress.errors import ApiError
from deployments.ingress.metrics import Metrics, ModelFacts
from deployments.search_answers import Report
from deployments.states import ModelState, SearchState
from settings import Settings
from stores.errors import StoreError

_STATE_SECONDS: Final = 1.0
"""How old a reported state may be, and how long search may take to give it."""
_UPKEEP_AT_ONCE: Final = 2


class Work(StrEnum):
    """What is asked of search. Each has turns of its own: where the bucket is silent, words are still looked up."""

    LOOKUP = "lookups"
    CHANGE = "changes"
    FILE = "files"
    UPKEEP = "upkeep"


_WORK: Final[Mapping[str, Work]] = {
    "search_text": Work.LOOKUP,
    "search_image": Work.LOOKUP,
    "search_id": Work.LOOKUP,
    "page": Work.LOOKUP,
    "get": Work.LOOKUP,
    "projects": Work.LOOKUP,
    "add": Work.CHANGE,
    "delete": Work.CHANGE,
    "delete_project": Work.CHANGE,
    "thumbnail": Work.FILE,
    "strays": Work.UPKEEP,
    "backups": Work.UPKEEP,
    "back_up": Work.UPKEEP,
    "restore": Work.UPKEEP,
}
_REPEATABLE: Final = ("add", *(method for method, work in _WORK.items() if work in (Work.LOOKUP, Work.FILE)))
"""What a dead replica's successor may be asked again: the same bytes are added once."""


class SearchCalls:
    """Calls of the search deployment. `states` says whether it can be expected to start, `metrics` count its calls."""

    def __init__(self, settings: Settings, handle: DeploymentHandle, states: ModelStates, metrics: Metrics) -> None:
        bounds = settings.search
        self._admissions = {
            work: Admission(
                f"the {work} of image search",
                at_once=_UPKEEP_AT_ONCE if work is Work.UPKEEP else bounds.max_ongoing * bounds.replicas,
                longest=bounds.max_queued,
                patience=settings.queue_timeout,
                most_bytes=bounds.max_queued_bytes,
            )
            for work in Work
        }
        self._handle, self._states, self._metrics = handle, states, metrics
        self._calls = {
            may_repeat: ModelHandle(
                SEARCH, handle, states, settings.start_timeout, may_repeat=may_repeat, what="image search"
            )
            for may_repeat in (True, False)
        }
        self._flight: SingleFlight[str, dict[str, Any]] = SingleFlight()
        self._is_alone = bounds.replicas == 1  # else each scrape would tell of another replica
        self._embedder_calls: dict[str, int] = {}
        self._state: dict[str, Any] = {}
        self._state_at = -math.inf
        metrics.expect(SEARCH)

    async def call(self, method: str, *args: Any, size: int = 0) -> Any:
        """The result of a method of `deployments.search.deployment.Search`; `size` bytes wait with the request.

        Raises:
            ApiError: 429 with Retry-After when too many wait, 503 when the turn does not come in time or no replica
                starts, and what search itself refused.
        """
        with self._metrics.call(SEARCH) as call, tracing.span(f"call {SEARCH}", {"method": method}):
            async with self._admissions[_WORK[method]].turn(size):
                result = await self._call(method, *args)
            call.end()
        return result

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            return await self._calls[method in _REPEATABLE].call(method, *args)
        except ApiError as error:
            if isinstance(error.__cause__, StoreError) and error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                self._metrics.store_failed(error.code or "STORE_FAILED")
            raise

    @property
    def queues(self) -> dict[str, dict[str, int]]:
        """For each kind of work, how many calls run and wait, and how many bytes wait with them."""
        return {
            str(work): {
                "running": each.running,
                "waiting": each.waiting,
                "waiting_bytes": each.waiting_bytes,
            }
            for work, each in self._admissions.items()
        }

    async def facts(self) -> ModelFacts:
        """What is known of search at this moment, for `/metrics`; a replica that is slow is not waited for."""
        await self.state()
        each = self._admissions.values()
        return ModelFacts(
            (await self._states.standings(math.inf))[SEARCH].state,
            running=sum(admission.running for admission in each),
            waiting=sum(admission.waiting for admission in each),
            calls_of_embedder=self._embedder_calls if self._is_alone else None,
        )

    async def state(self) -> dict[str, Any]:
        """What image search says of itself, a second old at most; `starting` or `failed` where it cannot be asked.

        However many want to know, it is asked once. One that does not answer within a second has much to do, and is
        not taken for dead: `busy`.
        """
        if time.monotonic() - self._state_at >= _STATE_SECONDS:
            await self._flight.get([SEARCH], self._look)
        return self._state

    async def _look(self, _: list[str]) -> dict[str, dict[str, Any]]:
        self._state = await self._ask()
        self._state_at = time.monotonic()
        return {SEARCH: self._state}

    async def _ask(self) -> dict[str, Any]:
        if (await self._states.standings())[SEARCH].state != ModelState.READY:
            return {"state": SearchState.STARTING}
        try:
            async with asyncio.timeout(_STATE_SECONDS):
                report: Report = await self._handle.report.remote()
        except TimeoutError:
            return {"state": SearchState.BUSY}
        except (RayError, StoreError):
            return {"state": SearchState.FAILED}
        self._embedder_calls = report.embedder_calls
        return report.state
