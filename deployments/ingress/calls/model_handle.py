"""Calls of one deployment: its replica is started, waited for no longer than that may take, replaced when it dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from ray.serve.handle import DeploymentHandle

from deployments import serve_internals
from deployments.imaging import Progress
from deployments.ingress.calls.states import ModelStates, Reason
from deployments.ingress.errors import ApiError, from_exception
from deployments.states import ModelState

logger = logging.getLogger("ray.serve")

_STATE_SECONDS: Final = 1.0
"""How long an answer may take before anybody asks in which state the model is."""
NO_RETRY: Final = {"x-should-retry": "false"}
_HOPELESS: Final[Mapping[Reason | None, str]] = {
    Reason.TOO_LARGE: "model_too_large",
    Reason.NO_ACCELERATOR: "accelerator_missing",
}
"""The codes of errors for what no waiting helps against."""


class ModelHandle:
    """Calls of one model, or of image search, without turns. `states` says whether it can be expected to start.

    A call whose replica dies is given to the next one, once: that makes the same of the same request. With
    `may_repeat` false it is not: what went to another server may have been worked on there, and cost something.
    """

    def __init__(
        self,
        alias: str,
        handle: DeploymentHandle,
        states: ModelStates,
        start_timeout: float,
        *,
        may_repeat: bool = True,
        what: str | None = None,
    ) -> None:
        """`what` it is called in errors, where it is not a model."""
        self._alias, self._handle, self._states = alias, handle, states
        self._start_timeout, self._may_repeat = start_timeout, may_repeat
        self._what = what or f"the model {alias!r}"

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """The result of a method of the replica. Bytes that are large arguments by themselves are passed cheaply.

        Raises:
            ApiError: 503 with Retry-After when the model does not start in time or its process ends twice, and what
                the model itself refused.
        """
        handle, passed = await serve_internals.pass_large(self._handle, args)
        has_died = False
        while True:
            answer = getattr(handle, method).remote(*passed, **kwargs)
            waiting = asyncio.ensure_future(_result(answer))
            try:
                await self._started(waiting)
                result = waiting.result()
                self._states.has_answered(self._alias)
                return result
            except ApiError:
                raise
            except Exception as error:
                if not serve_internals.is_loss(error):
                    raise self._to_api_error(error) from error
                self._note_death(error, is_last=has_died)
                has_died = True
            finally:
                if not waiting.done():
                    answer.cancel()
                    waiting.cancel()

    def _note_death(self, error: Exception, *, is_last: bool) -> None:
        """Let the model's next process try; raise if `is_last`."""
        api_error = self._to_api_error(error)
        if is_last or not self._may_repeat:
            raise api_error from error
        logger.warning("the process of %s ended; its request is given to the next one", self._alias)

    def _to_api_error(self, error: Exception) -> ApiError:
        self._states.expire()  # it may be why the model will answer nobody
        return from_exception(error)

    async def stream(
        self, method: str, *args: Any, within: AbstractContextManager[Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Any, None]:
        """What a generator method of the replica yields; the calls are made `within` a context. Errors as in `call`.

        What has begun to come, but for progress, is not begun again when the replica dies.
        """
        has_died = False
        while True:
            with within or nullcontext():
                answers = getattr(self._handle.options(stream=True), method).remote(*args, **kwargs)
                waiting = asyncio.ensure_future(_first(answers))
            has_begun = finished = False
            try:
                await self._started(waiting)
                piece = waiting.result()
                self._states.has_answered(self._alias)
                while piece is not _NOTHING:
                    has_begun = has_begun or not isinstance(piece, Progress)  # which may begin again
                    yield piece
                    piece = await _first(answers)
                finished = True
                return
            except ApiError:
                raise
            except Exception as error:
                finished = True
                if not serve_internals.is_loss(error):
                    raise self._to_api_error(error) from error
                self._note_death(error, is_last=has_begun or has_died)
                has_died = True
            finally:
                if not finished:
                    answers.cancel()
                    waiting.cancel()

    async def _started(self, waiting: asyncio.Future[Any]) -> None:
        """Return once `waiting` is done, however long the model works; not so long for it to start.

        Raises:
            ApiError: 503, the model has not started in time, or never will.
        """
        begun = time.monotonic()
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_STATE_SECONDS)
            if waiting.done():
                return
            looking = asyncio.ensure_future(self._states.standings())
            await asyncio.wait([waiting, looking], return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                looking.cancel()
                return
            standing = looking.result()[self._alias]
            if standing.state == ModelState.READY:
                await asyncio.wait([waiting], timeout=self._start_timeout)
                begun = time.monotonic()
            elif code := _HOPELESS.get(standing.why):
                raise ApiError(503, f"{self._what} {standing.reason}", code=code, headers=NO_RETRY)
            elif time.monotonic() - begun > self._start_timeout:
                reason = f": it {standing.reason}" if standing.reason else ""
                raise ApiError(
                    503,
                    f"{self._what} did not start within {self._start_timeout:g} s{reason}",
                    code="model_starting",
                    headers={"Retry-After": "10"},
                )


async def _result(answer: Any) -> Any:
    return await answer


_NOTHING = object()


async def _first(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers, _NOTHING)
