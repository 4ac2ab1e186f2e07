"""What is under way for an `Idempotency-Key`, and what was answered: of one machine, or of several ingress replicas."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from deployments.executors import IDEMPOTENCY, ExecutorFull
from stores.answers import Answer, Answers
from stores.claims import Claim, Claims, Held
from stores.errors import StoreError
from stores.shared_claims import SharedClaims
from stores.shared_redis import SharedRedis

logger = logging.getLogger("ray.serve")


class Releasable(Protocol):
    """The claim to answer a request."""

    def release(self) -> None:
        """Give it up; a second time does nothing."""


class Ledger(Protocol):
    """What is under way and what was answered, by a request's name. Methods raise `StoreError` and `ExecutorFull`."""

    async def begin(self, name: str, digest: bytes, *, again: bool = False) -> Releasable | Held | Answer:
        """The answer kept under a name; else the claim to make it, or who makes it now. `again`: they did before."""

    async def end(self, name: str, claim: Releasable, answer: Answer) -> None:
        """Keep the answer and release the claim, in this order; a store that fails costs the answer's second life only.

        Goes on when its caller is cancelled: the answer is complete.
        """

    async def release(self, claim: Releasable) -> None:
        """Let others go on."""

    def close(self) -> None:
        """Close what was opened."""


class LocalLedger:
    """Of all ingress replicas of a machine: a folder of claims, and a database of answers."""

    def __init__(self, claims: Claims, answers: Answers) -> None:
        self._claims, self._answers = claims, answers

    async def begin(self, name: str, digest: bytes, *, again: bool = False) -> Releasable | Held | Answer:
        """See `Ledger`."""
        del again
        beginning = asyncio.ensure_future(IDEMPOTENCY.run(self._begin, name, digest))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            beginning.add_done_callback(_release)  # the thread goes on, and may take a claim that nobody waits for
            raise

    async def end(self, name: str, claim: Releasable, answer: Answer) -> None:
        """See `Ledger`."""
        ending = asyncio.ensure_future(_kept_soon(self._answers, name, answer))
        ending.add_done_callback(lambda _: claim.release())
        await asyncio.shield(ending)

    async def release(self, claim: Releasable) -> None:
        """See `Ledger`."""
        claim.release()

    def close(self) -> None:
        """See `Ledger`."""
        self._answers.close()

    def _begin(self, name: str, digest: bytes) -> Claim | Held | Answer:
        if (kept := self._answers.find(name)) is not None:
            return kept
        claim = self._claims.take(name, digest)
        if isinstance(claim, Claim):
            try:
                kept = self._answers.find(name)  # the last holder may have ended between the two looks
            except StoreError:
                claim.release()
                raise
            if kept is not None:
                claim.release()
                return kept
        return claim


class SharedLedger:
    """Of all ingress replicas, wherever they run: claims in Redis, answers in PostgreSQL.

    While one is claimed only the claim is looked at, however often: its holder keeps the answer before it lets go.
    """

    def __init__(self, shared: SharedRedis, answers: Answers) -> None:
        self._shared, self._answers = shared, answers
        self._claims = SharedClaims(shared, "request")

    async def begin(self, name: str, digest: bytes, *, again: bool = False) -> Releasable | Held | Answer:
        """See `Ledger`."""
        if not again and (kept := await IDEMPOTENCY.run(self._answers.find, name)) is not None:
            return kept
        claim = await self._claims.take(name, digest)
        if isinstance(claim, Held):
            return claim
        try:
            kept = await IDEMPOTENCY.run(self._answers.find, name)  # the last holder may have ended in between
        except BaseException:
            claim.release()
            raise
        if kept is None:
            return claim
        await self.release(claim)
        return kept

    async def end(self, name: str, claim: Releasable, answer: Answer) -> None:
        """See `Ledger`."""
        ending = asyncio.ensure_future(_kept_soon(self._answers, name, answer))
        ending.add_done_callback(lambda _: claim.release())  # in the event loop, even when nobody waits any more
        await asyncio.shield(ending)
        await self._shared.settle()

    async def release(self, claim: Releasable) -> None:
        """See `Ledger`."""
        claim.release()
        await self._shared.settle()

    def close(self) -> None:
        """See `Ledger`."""
        self._answers.close()


async def _kept_soon(answers: Answers, name: str, answer: Answer) -> None:
    try:
        await IDEMPOTENCY.run(answers.keep, name, answer)
    except (StoreError, ExecutorFull) as error:
        logger.warning("a response could not be stored, so a second request will be executed again: %s", error)


def _release(beginning: asyncio.Future[Claim | Held | Answer]) -> None:
    if not beginning.cancelled() and beginning.exception() is None and isinstance(claim := beginning.result(), Claim):
        claim.release()
