"""Responses that are kept: for whom, and under which ids a request can go on from them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar

from pydantic import ValidationError

from deployments.executors import COMPUTING, RESPONSES
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.middleware.access import Caller
from deployments.ingress.schemas.responses import STORED_ITEM, Item, ItemReference, PictureItem
from deployments.storage import open_responses
from settings import Settings
from stores.errors import StoreError, StoreUnavailable
from stores.responses import ChainTooLargeError, LoopError, Responses, StoredItem, StoredResponse

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_TEND_SECONDS: Final = 300.0
"""After the start, and from then on."""


class StoredResponses:
    """The stored responses, of which a caller sees their own; an admin all of them.

    Every method raises ApiError 503 where the database does not answer, `StoreError` where it fails otherwise. It is
    opened when it is first used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: Responses | None = None
        self._pruning: asyncio.Task[None] | None = None

    async def find(self, caller: Caller, response_id: str) -> StoredResponse:
        """A response of the caller's. Raises ApiError 404."""
        if "\0" in response_id:  # PostgreSQL cannot even be asked for it
            raise not_found(response_id)
        found = await self._run(lambda responses: responses.find(response_id))
        if found is None or not caller.may_use(found.owner):
            raise not_found(response_id)
        return found

    async def delete(self, caller: Caller, response_id: str) -> None:
        """Forget a response of the caller's. Raises ApiError 404."""
        await self.find(caller, response_id)
        if not await self._run(lambda responses: responses.delete(response_id)):
            raise not_found(response_id)

    async def conversation(self, caller: Caller, response_id: str) -> list[Item]:
        """What was said up to a response, with it: the items of all responses before it, in order.

        Raises:
            ApiError: 404 naming `previous_response_id` where one of them is not there, or not the caller's; 400 where
                they are more than can be gone on from.
        """
        try:
            chain = await self._run(lambda responses: responses.chain(response_id))
        except ChainTooLargeError as error:
            raise invalid("previous_response_id", f"previous_response_id: {error}", "conversation_too_long") from None
        except LoopError as error:
            logger.error("stored responses go round in a circle: %s", error)
            raise _not_previous(f"{response_id!r}: {error}") from None
        if not chain or not all(caller.may_use(each.owner) for each in chain):
            raise _not_previous(f"there is no response {response_id[:256]!r}")
        if (missing := chain[0].previous) is not None:
            raise _not_previous(f"the response {missing!r}, with which the conversation began, is not there any more")
        stored = [item for response in chain for item in response.items]
        return await COMPUTING.run(lambda: [_parsed(item) for item in stored])

    async def item(self, caller: Caller, item_id: str, where: str) -> Item:
        """The newest of the caller's items of this id. Raises ApiError 404 naming `where`."""
        owner = None if caller.is_admin else caller.owner
        stored = await self._run(lambda responses: responses.item_named(item_id, owner))
        found = None if stored is None else await COMPUTING.run(_parsed, stored)
        if found is not None and not _is_whole(found):
            found = None
        if found is None:
            raise ApiError(404, f"{where}: there is no item {item_id[:256]!r}", code="item_not_found", param=where)
        return found

    async def keep(self, response: StoredResponse) -> None:
        """Keep a response, whole or not at all; now and then remove old ones, for which nobody waits."""
        is_prune_due = await self._run(lambda responses: _kept(responses, response))
        if is_prune_due and (self._pruning is None or self._pruning.done()):
            self._pruning = asyncio.create_task(self._prune())

    async def tend(self) -> None:
        """Remove old responses now and then, also where none is kept any more. Ends when it is cancelled."""
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            await self._prune()

    async def close(self) -> None:
        """Close the database, if it was ever opened."""
        if self._opened is not None:
            await RESPONSES.run(self._opened.close)

    async def _prune(self) -> None:
        try:
            await self._run(lambda responses: responses.prune())
        except Exception:  # nobody waits for it, and the next try must come
            logger.warning("old responses could not be removed; it is tried again", exc_info=True)

    async def _run(self, work: Callable[[Responses], T]) -> T:
        try:
            return await RESPONSES.run(lambda: work(self._responses()))
        except StoreUnavailable as error:
            logger.warning("the stored responses cannot be reached", exc_info=True)
            message = "the database of the stored responses does not answer"
            raise ApiError(503, message, code="RESPONSES_UNAVAILABLE", headers={"Retry-After": "10"}) from error

    def _responses(self) -> Responses:
        if self._opened is None:
            self._opened = open_responses(self._settings)
        return self._opened


def not_found(response_id: str) -> ApiError:
    """The error of an id that is unknown, deleted, too old or another key's: all look alike."""
    message = f"there is no response {response_id[:256]!r}"
    return ApiError(404, message, code="response_not_found", param="response_id")


def _not_previous(message: str) -> ApiError:
    return ApiError(
        404, f"previous_response_id: {message}", code="previous_response_not_found", param="previous_response_id"
    )


def _kept(responses: Responses, response: StoredResponse) -> bool:
    responses.keep(response)
    return responses.is_prune_due


def _is_whole(item: Item) -> bool:
    """Whether it is what its id stands for, and does not itself refer to that."""
    is_bare = isinstance(item, PictureItem) and item.result is None
    return not isinstance(item, ItemReference) and not is_bare


def _parsed(stored: StoredItem) -> Item:
    try:
        return STORED_ITEM.validate_json(stored.body)
    except ValidationError as error:
        raise StoreError(f"the stored item {stored.id} cannot be read") from error
