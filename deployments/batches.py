"""Batches: what is asked while work goes on is worked on next, together.

`serve.batch` would hold a lone question back to wait for company, and would put an asker who left and one whose
question is at fault into the same pot as the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

HaveLeft = Callable[[], bool]
"""Whether nobody waits for a batch any more; may be asked from any thread."""


@dataclass(eq=False)
class _Call(Generic[Q, A]):
    """What somebody asks; `answer` is cancelled when the asker has left."""

    question: Q
    answer: asyncio.Future[A] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    context: Context = field(default_factory=copy_context)


class Batcher(Generic[Q, A]):
    """Questions of several askers in as few batches as they fit into; nobody waits on purpose.

    To be used from one event loop.
    """

    def __init__(
        self, work: Callable[[list[Q], HaveLeft], Awaitable[list[A]]], fits: Callable[[list[Q], Q], bool]
    ) -> None:
        """`work` answers a batch, one answer per question, in order; one batch at a time.

        It may stop, with any error, once its second argument says that all have left. A batch of several that fails
        is worked on again question by question, so that a fault is its asker's own. `fits` says whether a question
        may go along with those taken already; the one that has waited longest always goes.
        """
        self._work = work
        self._fits = fits
        self._waiting: list[_Call[Q, A]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer, or what `work` raises for this question alone."""
        call: _Call[Q, A] = _Call(question)
        self._waiting.append(call)
        if self._working is None:
            self._work_on()
        return await call.answer

    def _work_on(self) -> None:
        """Begin with what waits, if anything does; its log lines bear the id of the first request in it."""
        self._waiting = [call for call in self._waiting if not call.answer.done()]
        self._working = None
        if calls := self._next():
            self._working = calls[0].context.run(asyncio.create_task, self._answer(calls))
            self._working.add_done_callback(lambda _: self._work_on())

    def _next(self) -> list[_Call[Q, A]]:
        """The call that has waited longest, and those behind it that fit; they no longer wait."""
        taken: list[_Call[Q, A]] = []
        left: list[_Call[Q, A]] = []
        for call in self._waiting:
            goes = not taken or self._fits([each.question for each in taken], call.question)
            (taken if goes else left).append(call)
        self._waiting = left
        return taken

    async def _answer(self, calls: list[_Call[Q, A]]) -> None:
        """Answer the calls together; where that fails, each by itself."""
        try:
            answers = await self._work(
                [call.question for call in calls], lambda: all(call.answer.cancelled() for call in calls)
            )
            answered = list(zip(calls, answers, strict=True))
        except BaseException as error:  # noqa: BLE001 - a library's panic too: whatever it is, every caller gets it
            calls = [call for call in calls if not call.answer.done()]
            if len(calls) > 1:
                for call in calls:
                    await call.context.run(asyncio.create_task, self._answer([call]))
            elif calls:
                calls[0].answer.set_exception(error)
            return
        for call, answer in answered:
            if not call.answer.done():
                call.answer.set_result(answer)
