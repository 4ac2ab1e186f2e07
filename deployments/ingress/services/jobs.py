"""The state of requests that make pictures, by request id, and a way to stop them (docs/http-api.md, "Jobs")."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from cachetools import TTLCache
from starlette.requests import Request

from deployments.imaging import ImageEvent, Progress
from deployments.ingress.errors import ApiError, envelope
from deployments.ingress.middleware.access import Caller, caller_of
from deployments.ingress.services.job_outcomes import KEPT_SECONDS, Outcome, Outcomes
from deployments.states import JobState

T = TypeVar("T")

_MAX_JOBS: Final = 10_000


def cancelled() -> ApiError:
    """The error of a request whose job was stopped. A new one each time: an exception keeps the frames it passed."""
    return ApiError(400, "the job was cancelled by DELETE /v1/jobs/…", code="cancelled")


async def unless_set(event: asyncio.Event, work: Callable[[], Awaitable[T]], error: Callable[[], ApiError]) -> T:
    """The result of `work`, which is begun unless the event is set before. As soon as it is, `work` is cancelled.

    Raises:
        ApiError: what `error` gives, then.
    """
    if event.is_set():
        raise error()
    working, stopped = asyncio.ensure_future(work()), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            raise error()
        return working.result()
    finally:
        stopped.cancel()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


@dataclass
class Job:
    """The state of one request's work. `owner` may see it; empty: everybody, as long as the server is open."""

    id: str
    owner: str
    model: str
    state: JobState = JobState.QUEUED
    step: int = 0
    steps: int = 0
    preview: bytes | None = None
    created: float = field(default_factory=time.time)
    ended_at: float | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    outlives_request: bool = False
    """Whether its outcome is kept to be asked for; else it is the answer of the request that began it."""
    outcome: Outcome | None = field(default=None, repr=False)
    """Of a job that outlives its request, until it ends."""
    error: ApiError | None = field(default=None, repr=False)
    """Why it ended, where that is not its outcome's to say."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.owner, self.id

    def note(self, piece: ImageEvent) -> None:
        """Take note of what has come from the model."""
        if self.ended_at is None:
            self.state = JobState.RUNNING
        if isinstance(piece, Progress):
            self.step, self.steps = piece.done, piece.total
            self.preview = piece.preview or self.preview

    async def unless_cancelled(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, which is begun unless the job was stopped before.

        Raises:
            ApiError: 400 `cancelled` as soon as somebody stops the job; `work` is cancelled.
        """
        return await unless_set(self.cancelled, work, cancelled)

    def end(self, state: JobState) -> None:
        """Note how it ended."""
        self.state, self.ended_at = state, time.monotonic()
        if state == JobState.DONE:
            self.step = self.steps  # a quick job may report none of its steps

    def shown(self) -> dict[str, Any]:
        """As the routes answer it."""
        fields: dict[str, Any] = {
            "id": self.id,
            "object": "job",
            "state": self.state,
            "progress": 1.0 if self.state == JobState.DONE else round(self.step / self.steps, 4) if self.steps else 0.0,
            "step": self.step,
            "steps": self.steps,
            "model": self.model,
            "created": int(self.created),
        }
        if self.preview is not None:
            fields["preview"] = f"data:image/jpeg;base64,{base64.b64encode(self.preview).decode()}"
        return fields


class Jobs:
    """The jobs of one ingress replica, those that ended among them for ten minutes.

    What jobs that outlive their requests have made is kept as long, in `most_bytes` for all of them.
    """

    def __init__(self, most_bytes: int) -> None:
        self._running: dict[tuple[str, str], Job] = {}
        self._ended: TTLCache[tuple[str, str], Job] = TTLCache(_MAX_JOBS, KEPT_SECONDS)
        self._outcomes = Outcomes(most_bytes)

    def begin(self, request: Request, model: str, outcome: Outcome | None = None) -> Job:
        """A request's job, listed under its id until another request has that id; to be worked on `within` at once.

        With an `outcome`, the job outlives the request, and is listed until it ends, even where another has its id.

        Raises:
            ApiError: 409 when it is to outlive the request and a job of this id is still at work.
        """
        job = Job(request.state.request_id, caller_of(request).owner, model)
        if outcome is not None:
            if job.key in self._running:
                message = f"a job of the id {job.id!r} is at work; send another x-request-id, or none"
                raise ApiError(409, message, code="job_exists", headers={"x-should-retry": "false"})
            job.outcome, job.outlives_request = outcome, True
            self._outcomes.drop(job.key)
        listed = self._running.get(job.key)
        if listed is None or not listed.outlives_request:  # of such a one this is all that its caller has
            self._running[job.key] = job
        return job

    @asynccontextmanager
    async def within(self, job: Job) -> AsyncIterator[None]:
        """Around all the work of a job.

        Raises:
            ApiError: 400 `cancelled` at the end, when somebody stopped it.
        """
        try:
            yield
            if job.cancelled.is_set():
                raise cancelled()
            self.end(job, JobState.DONE)
        except Exception:
            self.end(job, JobState.FAILED)
            raise
        finally:  # the caller went away
            self.end(job, JobState.CANCELLED)

    @asynccontextmanager
    async def working(self, request: Request, model: str) -> AsyncIterator[Job]:
        """Around all the work of a request, which is its job. Raises as `within`."""
        job = self.begin(request, model)
        await self._announce(job)
        async with self.within(job):
            yield job

    async def begin_for_later(self, request: Request, model: str, outcome: Outcome) -> Job:
        """A job that outlives its request. Raises as `begin`."""
        return self.begin(request, model, outcome)

    def end(self, job: Job, state: JobState) -> None:
        """Note how a job ended; what was noted first stays."""
        if job.ended_at is not None:
            return
        job.end(state)
        outcome, job.outcome = job.outcome, None
        if outcome is not None and state == JobState.CANCELLED:
            outcome.end(error=cancelled())
        if self._running.get(job.key) is job:
            del self._running[job.key]
            before = self._ended.get(job.key)
            if job.outlives_request or before is None or not before.outlives_request:  # its result is still asked for
                self._ended[job.key] = job
            if outcome is not None:
                self._outcomes.keep(job.key, outcome)
        self._tell_end(job, outcome)

    def cancel(self, job: Job) -> dict[str, Any]:
        """Stop a job's work; it as it is then, or was when it had ended before."""
        if job.ended_at is None:
            self.end(job, JobState.CANCELLED)
            job.cancelled.set()
        return job.shown()

    def outcome_of(self, job: Job) -> Outcome:
        """What a job has given so far, or at its end.

        Raises:
            ApiError: why it was lost; 409 where it is no job that outlives its request, 404 where it is not kept.
        """
        if job.error is not None:
            raise job.error.again()
        if not job.outlives_request:
            message = "what this job makes is the answer of its request; one with `Prefer: respond-async` keeps it here"
            raise ApiError(409, message, code="job_not_kept", headers={"x-should-retry": "false"})
        outcome = job.outcome or self._outcomes.get(job.key)
        if outcome is None:
            raise ApiError(404, "the result of this job had to make room for newer ones", code="job_result_dropped")
        return outcome

    async def told(self, job: Job) -> bytes:
        """The JSON of a job: its state, and of one that outlives its request the `result`, or the `error`."""
        fields = job.shown()
        if job.error is not None:
            fields |= envelope(job.error)
        elif job.outlives_request and job.ended_at is not None:
            try:
                outcome = self.outcome_of(job)
            except ApiError as error:
                fields |= envelope(error)
            else:
                if job.state == JobState.DONE and outcome.answer is not None:
                    return await outcome.answer.body(around=fields)
                if outcome.error is not None:
                    fields |= envelope(outcome.error)
        return json.dumps(fields, separators=(",", ":")).encode()

    async def show(self, caller: Caller, job_id: str) -> bytes:
        """The JSON of a caller's job, as `told` gives it. Raises ApiError 404."""
        return await self.told(self._found(caller, job_id))

    async def follow(self, caller: Caller, job_id: str) -> Outcome:
        """The outcome of a caller's job. Raises ApiError 404, and as `outcome_of`."""
        return self.outcome_of(self._found(caller, job_id))

    async def stop(self, caller: Caller, job_id: str) -> dict[str, Any]:
        """Stop a caller's job, as `cancel` does. Raises ApiError 404."""
        return self.cancel(self._found(caller, job_id))

    def find(self, owner: str, job_id: str) -> Job | None:
        """The owner's job of this id."""
        return self._running.get((owner, job_id)) or self._ended.get((owner, job_id))

    def find_for(self, caller: Caller, job_id: str) -> Job | None:
        """The caller's own job of this id; for an admin, anybody's."""
        job = self.find(caller.owner, job_id)
        if job is None and caller.is_admin:
            of_everybody = (*self._running.values(), *reversed(list(self._ended.values())))
            job = next((each for each in of_everybody if each.id == job_id), None)
        return job

    async def _announce(self, job: Job) -> None:
        """Let others know of a job that begins."""

    def _tell_end(self, job: Job, outcome: Outcome | None) -> None:
        """Let others know how a job ended."""

    def _found(self, caller: Caller, job_id: str) -> Job:
        job = self.find_for(caller, job_id)
        if job is None:
            raise not_found(job_id)
        return job


def not_found(job_id: str) -> ApiError:
    """The error of a job that is unknown, too old, or another key's: all look alike."""
    return ApiError(404, f"there is no job {job_id[:128]!r}; jobs are kept for ten minutes", code="job_not_found")
