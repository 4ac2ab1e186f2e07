"""Jobs of several ingress replicas: each works on its own, and all know which of them works on which.

Which replica has a job stands in Redis, as how it ended does; what is to be known of one at work is asked of that
replica (`replica_calls`). What a job has made that outlives its request is kept in PostgreSQL too, so that it can be
fetched when that replica is gone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, Final

from pydantic import BaseModel
from starlette.requests import Request

from deployments.executors import COMPUTING, IDEMPOTENCY, ExecutorFull
from deployments.imaging import FinishedImage, Partial
from deployments.ingress.errors import ApiError, from_exception
from deployments.ingress.middleware.access import Caller
from deployments.ingress.services.job_outcomes import KEPT_SECONDS, Outcome
from deployments.ingress.services.jobs import Job, Jobs, not_found
from deployments.ingress.services.outcome_snapshots import Snapshot
from deployments.ingress.services.replica_calls import ReplicaCalls
from deployments.states import JobState
from stores.answers import Answer, Answers
from stores.errors import SharedStateUnavailable, StoreError
from stores.shared_redis import ALIVE, PREFIX, SharedRedis

logger = logging.getLogger("ray.serve")

_LONGEST_MS: Final = 24 * 3600 * 1000
_TRY_AGAIN_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 2.0
"""For which a replica waits for a change of an outcome that another asks for."""

_BEGIN: Final = """
    redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
    local found = redis.call('HGET', KEYS[1], ARGV[3])
    if found then
        local listed = cjson.decode(found)
        local is_at_work = listed.ended == cjson.null and redis.call('EXISTS', ARGV[1] .. listed.replica) == 1
        if is_at_work and ARGV[5] == '1' then return 0 end
        if listed.outlives and (is_at_work or (listed.ended ~= cjson.null and ARGV[5] == '0')) then return 1 end
    end
    redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return 1
"""
"""1, unless it is to outlive its request and a job of its id is at work; one that outlives its own keeps its place."""
_END: Final = """
    local found = redis.call('HGET', KEYS[1], ARGV[1])
    if not found or cjson.decode(found).token ~= ARGV[2] then return end
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
    if redis.call('HLEN', KEYS[1]) == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
"""
_DROP: Final = """
    local found = redis.call('HGET', KEYS[1], ARGV[1])
    if found and cjson.decode(found).token == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end
"""


class _Ended(BaseModel):
    """How a job ended."""

    state: JobState
    step: int
    steps: int


class _Record(BaseModel):
    """What all replicas know of a job."""

    replica: str
    token: str
    owner: str
    model: str
    created: float
    outlives: bool
    ended: _Ended | None = None

    def job(self, job_id: str) -> Job:
        """The job as far as it is known, which has ended one way or the other."""
        job = Job(job_id, self.owner, self.model, created=self.created, outlives_request=self.outlives)
        if self.ended is None:
            job.end(JobState.FAILED)
            job.error = _lost()
        else:
            job.step, job.steps = self.ended.step, self.ended.steps
            job.end(self.ended.state)
        return job


class SharedJobs(Jobs):
    """The jobs of all replicas, of which this one works on some."""

    def __init__(self, most_bytes: int, shared: SharedRedis, calls: ReplicaCalls, kept: Answers) -> None:
        super().__init__(most_bytes)
        self._shared, self._calls, self._kept = shared, calls, kept
        self._begin_script = shared.redis.register_script(_BEGIN)
        self._records: dict[int, _Record] = {}
        self._keeping: set[asyncio.Task[None]] = set()
        self.far_followers: Counter[str] = Counter()
        """Who follows a job at another replica, by its token."""
        calls.answers("job", self._answer_show)
        calls.answers("job stopped", self._answer_stop)
        calls.answers("job's outcome", self._answer_outcome)

    async def begin_for_later(self, request: Request, model: str, outcome: Outcome) -> Job:
        """A job that outlives its request.

        Raises:
            ApiError: 409 when a job of this id is at work, wherever it is.
            SharedStateUnavailable: Redis does not answer, so that no other replica would know of it.
        """
        job = self.begin(request, model, outcome)
        try:
            is_listed = await self._list(job)
        except BaseException:
            self._unlist(job)  # it may have been listed all the same
            self._forget(job)
            raise
        if not is_listed:
            self._forget(job)
            message = f"a job of the id {job.id!r} is at work; send another x-request-id, or none"
            raise ApiError(409, message, code="job_exists", headers={"x-should-retry": "false"})
        return job

    async def show(self, caller: Caller, job_id: str) -> bytes:
        """See `Jobs`. Raises `SharedStateUnavailable` too, as all that may concern another replica."""
        found = await self._look_up(caller, job_id)
        if isinstance(found, Job):
            return await self.told(found)
        answer = await self._calls.ask(found.replica, "job", owner=found.owner, id=job_id)
        return await self.told(await self._left_by(found, job_id)) if answer is None else answer

    async def follow(self, caller: Caller, job_id: str) -> Outcome:
        """See `Jobs`."""
        found = await self._look_up(caller, job_id)
        if isinstance(found, Job):
            return self.outcome_of(found)
        far = _FarOutcome(self, found, job_id)
        return far if await far.begin() else self.outcome_of(await self._left_by(found, job_id))

    async def stop(self, caller: Caller, job_id: str) -> dict[str, Any]:
        """See `Jobs`."""
        found = await self._look_up(caller, job_id)
        if isinstance(found, Job):
            return self.cancel(found)
        answer = await self._calls.ask(found.replica, "job stopped", owner=found.owner, id=job_id)
        if answer is None:
            return (await self._left_by(found, job_id)).shown()
        shown: dict[str, Any] = json.loads(answer)
        return shown

    async def close(self) -> None:
        """Return once what the jobs have made is kept, or soon."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=_CLOSE_SECONDS)
        self._kept.close()

    async def ask_outcome(self, record: _Record, job_id: str, changes: int, skipped: int) -> Snapshot | None:
        """The outcome of a job at another replica, once it has changed so often, or soon; None where that is dead."""
        arguments: dict[str, Any] = {"owner": record.owner, "id": job_id, "changes": changes, "skipped": skipped}
        answer = await self._calls.ask(record.replica, "job's outcome", **arguments)
        return None if answer is None else await COMPUTING.run(Snapshot.model_validate_json, answer)

    async def left_outcome(self, record: _Record, job_id: str) -> Outcome:
        """What is left of the outcome of a job whose replica is dead. Raises ApiError as `outcome_of`."""
        return self.outcome_of(await self._left_by(record, job_id))

    async def _look_up(self, caller: Caller, job_id: str) -> Job | _Record:
        """The caller's job where this replica has it, else what is known of it. Raises ApiError 404."""
        here = self.find_for(caller, job_id)
        try:
            records = await self._read(job_id)
        except SharedStateUnavailable:
            if here is None:
                raise
            return here
        record = records.get(caller.owner)
        if record is None and caller.is_admin and here is None:
            record = next(iter(sorted(records.values(), key=lambda each: each.ended is not None)), None)
        if record is None or record.replica == self._shared.id:
            of_record = self.find(record.owner, job_id) if record is not None else here
            if of_record is None:
                raise not_found(job_id)
            return of_record
        return record

    async def _read(self, job_id: str) -> dict[str, _Record]:
        found = await self._shared.ask(lambda redis: redis.hgetall(_key(job_id)))
        records = [_Record.model_validate_json(text) for text in found.values()]
        return {each.owner: each for each in records}

    async def _latest(self, record: _Record, job_id: str) -> _Record:
        """What is known by now of the same job: it may have ended in the meantime."""
        latest = (await self._read(job_id)).get(record.owner)
        return latest if latest is not None and latest.token == record.token else record

    async def _left_by(self, record: _Record, job_id: str) -> Job:
        """A job whose replica is dead: as it ended, with what is kept of it, or lost."""
        record = await self._latest(record, job_id)
        job = record.job(job_id)
        if job.outlives_request and job.error is None:
            kept = await IDEMPOTENCY.run(self._kept.find, _name(record))
            if kept is not None:
                snapshot = await COMPUTING.run(Snapshot.model_validate_json, kept.body)
                job.outcome = snapshot.restored()
        return job

    async def _announce(self, job: Job) -> None:
        try:
            await self._list(job)
        except SharedStateUnavailable as error:
            logger.warning("a job is known to this ingress replica only: %s", error)

    async def _list(self, job: Job) -> bool:
        shared = self._shared
        token = f"{shared.id}-{id(job)}-{time.time_ns()}"
        record = _Record(
            replica=shared.id, token=token, owner=job.owner, model=job.model, created=job.created,
            outlives=job.outlives_request,
        )  # fmt: skip
        shared.refuse_while_away()
        self._records[id(job)] = record
        keys = [_key(job.id), shared.alive_key]
        is_for_later = "1" if job.outlives_request else "0"
        text = record.model_dump_json()
        arguments: list[str | int] = [ALIVE, shared.life_ms, job.owner, text, is_for_later, _LONGEST_MS]
        shared.live()
        return bool(await shared.ask(lambda _: self._begin_script(keys, arguments)))

    def _unlist(self, job: Job) -> None:
        record = self._records.get(id(job))
        if record is not None:
            arguments = (_key(job.id), record.owner, record.token)
            self._shared.sooner_or_later(lambda redis: redis.eval(_DROP, 1, *arguments))

    def _forget(self, job: Job) -> None:
        self._records.pop(id(job), None)
        job.outcome = None
        self.end(job, JobState.FAILED)
        self._ended.pop(job.key, None)

    def _tell_end(self, job: Job, outcome: Outcome | None) -> None:
        record = self._records.pop(id(job), None)
        if record is None:
            return
        ended = record.model_copy(update={"ended": _Ended(state=job.state, step=job.step, steps=job.steps)})
        arguments = (_key(job.id), record.owner, record.token, ended.model_dump_json(), int(KEPT_SECONDS * 1000))
        self._shared.sooner_or_later(lambda redis: redis.eval(_END, 1, *arguments))
        if outcome is not None:
            task = asyncio.create_task(self._keep(_name(record), outcome))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _keep(self, name: str, outcome: Outcome) -> None:
        await outcome.end_of_it()
        body = await COMPUTING.run(lambda: Snapshot.of(outcome).model_dump_json().encode())
        await self._keep_outcome(name, Answer(b"", 200, (), body))

    async def _keep_outcome(self, name: str, answer: Answer) -> None:
        until = time.monotonic() + KEPT_SECONDS
        while time.monotonic() < until:
            try:
                await IDEMPOTENCY.run(self._kept.keep, name, answer)
            except (SharedStateUnavailable, ExecutorFull):
                await asyncio.sleep(_TRY_AGAIN_SECONDS)
            except StoreError:
                logger.warning("what a job has made is known to this ingress replica only", exc_info=True)
                return
            else:
                return

    async def _answer_show(self, asked: dict[str, Any]) -> bytes:
        return await self.told(self._of(asked))

    async def _answer_stop(self, asked: dict[str, Any]) -> bytes:
        return json.dumps(self.cancel(self._of(asked))).encode()

    async def _answer_outcome(self, asked: dict[str, Any]) -> bytes:
        outcome = self.outcome_of(self._of(asked))
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await outcome.change_after(asked["changes"])
        except TimeoutError:
            pass  # nothing has changed, which is an answer
        return await COMPUTING.run(lambda: Snapshot.of(outcome, asked["skipped"]).model_dump_json().encode())

    def _of(self, asked: dict[str, Any]) -> Job:
        job = self.find(asked["owner"], asked["id"])
        if job is None:
            raise not_found(asked["id"])
        return job


class _FarOutcome(Outcome):
    """The outcome of a job at another replica, which is asked for what is new while it is followed."""

    def __init__(self, jobs: SharedJobs, record: _Record, job_id: str) -> None:
        self._jobs, self._record, self._job_id = jobs, record, job_id
        self._first: Snapshot | None = None

    async def begin(self) -> bool:
        """Ask for what there is; False where that replica is dead. Raises ApiError as `Jobs.outcome_of`."""
        self._first = await self._jobs.ask_outcome(self._record, self._job_id, -1, 0)
        if self._first is not None:
            super().__init__(self._first.asked)
        return self._first is not None

    def refuse_more_followers(self) -> None:
        """See `Outcome`; those at this replica are counted."""
        self._followers = self._jobs.far_followers[self._record.token]
        super().refuse_more_followers()

    async def follow(self) -> AsyncGenerator[Partial | FinishedImage, None]:
        """See `Outcome`."""
        followers, token = self._jobs.far_followers, self._record.token
        followers[token] += 1
        pumping = asyncio.create_task(self._pump())
        try:
            async for piece in super().follow():
                yield piece
        finally:
            pumping.cancel()
            followers[token] -= 1
            if not followers[token]:
                del followers[token]

    async def _pump(self) -> None:
        assert self._first is not None
        snapshot: Snapshot | None = self._first
        try:
            while snapshot is not None:
                for piece in snapshot.pieces(self.partials):
                    self.add(piece)
                if snapshot.has_ended:
                    snapshot.end(self)
                    return
                arguments = (self._record, self._job_id, snapshot.changes, len(self.finished))
                snapshot = await self._jobs.ask_outcome(*arguments)
            left = await self._jobs.left_outcome(self._record, self._job_id)
            for image in left.finished[len(self.finished) :]:
                self.add(image)
            self.end(answer=left.answer, error=left.error)
        except Exception as error:  # noqa: BLE001 - who follows waits for an end, whatever it is
            self.end(error=from_exception(error))


def _lost() -> ApiError:
    message = "the ingress replica that worked on this job has ended; send the request again"
    return ApiError(503, message, code="job_lost", headers={"Retry-After": "1"})


def _key(job_id: str) -> str:
    return f"{PREFIX}jobs:{job_id[:256]}"


def _name(record: _Record) -> str:
    return f"{record.owner}:{record.token}"
