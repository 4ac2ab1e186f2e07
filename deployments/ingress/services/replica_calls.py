"""What one ingress replica asks another, by way of their Redis: about what only the process knows that does it."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from deployments.ingress.errors import ApiError, from_exception
from deployments.ingress.services.outcome_snapshots import ErrorFields
from stores import shared_redis
from stores.errors import SharedStateUnavailable
from stores.shared_redis import ALIVE, PREFIX, SharedRedis

logger = logging.getLogger("ray.serve")

Answering = Callable[[dict[str, Any]], Awaitable[bytes]]

_KEPT_SECONDS: Final = 60
"""A question or an answer that nobody fetches."""
_OK, _FAILED = b"+", b"-"


class ReplicaCalls:
    """One replica's questions to others, and its answers to theirs while `listen` runs. Of one event loop."""

    def __init__(self, shared: SharedRedis) -> None:
        self._shared = shared
        self._answering: dict[str, Answering] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def id(self) -> str:
        """This replica's."""
        return self._shared.id

    def answers(self, what: str, answering: Answering) -> None:
        """Have questions of a kind answered by `answering`; an ApiError of it is raised where they were asked."""
        self._answering[what] = answering

    async def ask(
        self, replica: str, what: str, patience: float = 5.0, **arguments: str | float | bool
    ) -> bytes | None:
        """A replica's answer; None where it is dead.

        Raises:
            ApiError: what the other one raised.
            SharedStateUnavailable: Redis does not answer, or the replica does not within `patience` seconds.
        """
        reply = f"{PREFIX}reply:{secrets.token_hex(16)}"
        question = json.dumps({"what": what, "reply": reply, "arguments": arguments})
        if not await self._is_alive(replica):
            return None
        await self._put(f"{PREFIX}mail:{replica}", question.encode())
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if (answer := await self._fetch(reply)) is not None:
                if answer[:1] == _FAILED:
                    raise ErrorFields.model_validate_json(answer[1:]).error()
                return answer[1:]
            if not await self._is_alive(replica):
                return None
        raise SharedStateUnavailable("the ingress replica that works on this does not answer")

    async def listen(self) -> None:
        """Answer what others ask, until it is cancelled."""
        self._shared.live()
        try:
            while True:
                try:
                    question = await self._fetch(f"{PREFIX}mail:{self.id}")
                except SharedStateUnavailable:
                    await asyncio.sleep(shared_redis.PAUSE_SECONDS)
                    continue
                if question is not None:
                    task = asyncio.create_task(self._answer(json.loads(question)))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _answer(self, question: dict[str, Any]) -> None:
        try:
            answer = _OK + await self._answering[question["what"]](question["arguments"])
        except Exception as error:  # noqa: BLE001 - whatever it is, another replica waits for it
            refusal = error if isinstance(error, ApiError) else from_exception(error)
            answer = _FAILED + ErrorFields.of(refusal).model_dump_json().encode()
        try:
            await self._put(question["reply"], answer)
        except SharedStateUnavailable:
            logger.warning("the answer to another ingress replica could not be sent, since Redis did not take it")

    async def _is_alive(self, replica: str) -> bool:
        return bool(await self._shared.ask(lambda redis: redis.exists(f"{ALIVE}{replica}")))

    async def _put(self, key: str, text: bytes) -> None:
        async def put(redis: Any) -> None:
            async with redis.pipeline(transaction=True) as pipeline:
                pipeline.rpush(key, text)
                pipeline.expire(key, _KEPT_SECONDS)
                await pipeline.execute()

        await self._shared.ask(put)

    async def _fetch(self, key: str) -> bytes | None:
        """The next text of a list, for which it is waited half as long as for any answer of Redis."""
        seconds = shared_redis.REPLY_SECONDS / 2
        found = await self._shared.ask(lambda redis: redis.blpop([key], timeout=seconds))
        text = None if found is None else found[1]
        return text.encode() if isinstance(text, str) else text  # bytes: this Redis decodes nothing
