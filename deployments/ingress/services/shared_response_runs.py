"""Responses that several ingress replicas stream: which of them makes which stands in Redis, the rest it is asked."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, Final

from deployments.ingress.errors import ApiError
from deployments.ingress.middleware.access import Caller
from deployments.ingress.services.replica_calls import ReplicaCalls
from deployments.ingress.services.response_runs import PATIENCE_SECONDS, ResponseRun, ResponseRuns
from deployments.ingress.services.stored_responses import StoredResponses
from stores.errors import SharedStateUnavailable
from stores.shared_redis import PREFIX, SharedRedis

logger = logging.getLogger("ray.serve")

_LONGEST_SECONDS: Final = 24 * 3600


class SharedResponseRuns(ResponseRuns):
    """The responses that all replicas stream now, of which this one makes some.

    `look` and `stop` raise `SharedStateUnavailable` for one that is neither made here nor kept, where Redis does not
    say whether another replica makes it.
    """

    def __init__(self, stored: StoredResponses, shared: SharedRedis, calls: ReplicaCalls) -> None:
        super().__init__(stored)
        self._shared, self._calls = shared, calls
        calls.answers("response", self._answer_look)
        calls.answers("response stopped", self._answer_stop)

    async def look(self, caller: Caller, response_id: str) -> str | None:
        """See `ResponseRuns`."""
        here = await super().look(caller, response_id)
        return here if here is not None else await self._ask(caller, response_id, "response", 5.0)

    async def stop(self, caller: Caller, response_id: str, *, forget: bool = False) -> str | None:
        """See `ResponseRuns`."""
        here = await super().stop(caller, response_id, forget=forget)
        if here is not None:
            return here
        return await self._ask(caller, response_id, "response stopped", PATIENCE_SECONDS + 5, forget=forget)

    async def _ask(self, caller: Caller, response_id: str, what: str, patience: float, **more: bool) -> str | None:
        try:
            found = await self._shared.ask(lambda redis: redis.get(_key(response_id)))
            record: dict[str, str] | None = None if found is None else json.loads(found)
            if record is None or record["replica"] == self._shared.id or not caller.may_use(record["owner"]):
                return None
            answer = await self._calls.ask(record["replica"], what, patience, id=response_id, **more)
        except SharedStateUnavailable:
            if await self._is_kept(caller, response_id):
                return None
            raise
        return None if not answer else answer.decode()

    async def _is_kept(self, caller: Caller, response_id: str) -> bool:
        try:
            await self._stored.find(caller, response_id)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    async def _announce(self, run: ResponseRun) -> None:
        record = json.dumps({"replica": self._shared.id, "owner": run.owner})
        self._shared.live()
        try:
            await self._shared.ask(lambda redis: redis.set(_key(run.id), record, ex=_LONGEST_SECONDS))
        except SharedStateUnavailable as error:
            logger.warning("a response is known to this ingress replica only while it is made: %s", error)

    def _tell_end(self, run: ResponseRun) -> None:
        self._shared.sooner_or_later(lambda redis: redis.delete(_key(run.id)))

    async def _answer_look(self, asked: dict[str, Any]) -> bytes:
        run = self._running.get(asked["id"])
        return b"" if run is None else (await run.writer.whole().text()).encode()

    async def _answer_stop(self, asked: dict[str, Any]) -> bytes:
        run = self._running.get(asked["id"])
        return b"" if run is None else (await self._stop(run, forget=asked["forget"])).encode()


def _key(response_id: str) -> str:
    return f"{PREFIX}response:{response_id[:256]}"
