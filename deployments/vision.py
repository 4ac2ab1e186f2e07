"""Chat that sees: one vision-language model, whose callers share its batches."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from deployments.replica import ModelReplica
from models.chat.calls import whole_calls
from models.chat.engine import ChatEngine, PendingChat
from models.entry import ModelEntry
from models.errors import InferenceFailed, ModelError
from models.tasks import ChatDelta, ChatJob, FinishReason, TokenLogprob, ToolCall, Usage

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: FinishReason
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    ignored: tuple[str, ...] = ()


class Vision(ModelReplica[ChatEngine]):
    """Answers about pictures and text.

    What comes while the model works goes along from its next token on, where the engine can, else together next.
    """

    def __init__(self, alias: str, entry: ModelEntry, capacity: int = 0) -> None:
        super().__init__(alias, entry, capacity)
        self._waiting: deque[PendingChat] = deque()

    async def chat(self, job: ChatJob) -> Answer:
        """The answer in one piece."""
        loop = asyncio.get_running_loop()
        whole: asyncio.Future[Answer] = loop.create_future()
        pieces: list[ChatDelta] = []

        def tell(piece: ChatDelta | Exception) -> None:
            if not isinstance(piece, Exception):
                pieces.append(piece)
                if piece.finish_reason is None:
                    return
            loop.call_soon_threadsafe(end, piece)

        def end(last: ChatDelta | Exception) -> None:
            if whole.done():  # the caller has left
                return
            if isinstance(last, Exception):
                whole.set_exception(last)
                return
            assert last.finish_reason is not None
            assert last.usage is not None
            logprobs = tuple(logprob for piece in pieces for logprob in piece.logprobs)
            calls = whole_calls([call for piece in pieces for call in piece.calls])
            text = "".join(piece.text for piece in pieces)
            whole.set_result(Answer(text, last.finish_reason, last.usage, logprobs, calls, last.ignored))

        with self._asking(job, tell):
            return await whole

    async def chat_stream(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        """The answer as it is written."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[ChatDelta | Exception] = asyncio.Queue()
        with self._asking(job, lambda piece: loop.call_soon_threadsafe(queue.put_nowait, piece)):
            while True:
                piece = await queue.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if piece.finish_reason is not None:
                    return

    @contextmanager
    def _asking(self, job: ChatJob, tell: Callable[[ChatDelta | Exception], object]) -> Iterator[None]:
        """Have a job answered; leaving cancels it."""
        cancelled = threading.Event()

        def tell_and_log(piece: ChatDelta | Exception) -> None:
            if isinstance(piece, InferenceFailed):
                self.note_failure(piece)
            tell(piece)

        self._waiting.append(PendingChat(job, tell_and_log, cancelled.is_set))
        self._in_thread(self._answer_waiting)
        try:
            with self.presence.in_use():
                yield
        finally:
            cancelled.set()

    def _answer_waiting(self) -> None:
        """Answer the longest waiting, in the engine's thread, and those behind it that may go along.

        There is such a turn for every job; those whose job went along with an earlier one find less to do, or nothing.
        """
        calls: list[PendingChat] = []

        def next_waiting(count: int) -> Sequence[PendingChat]:
            taken = self._next_waiting(count)
            calls[:] = [*(call for call in calls if not call.is_cancelled()), *taken]
            return taken

        first = next_waiting(self.engine.max_batch)
        if not first:
            return
        try:
            self._guarded(lambda _: self.engine.answer(first, next_waiting), lambda: False)
        except ModelError as error:
            for call in calls:
                call.tell(error)
        except BaseException:  # a library's panic, say: nobody may wait for ever
            for call in calls:
                call.tell(InferenceFailed(f"{self.alias} broke off"))
            raise

    def _next_waiting(self, count: int) -> list[PendingChat]:
        """The longest waiting, up to so many, for whom somebody still waits; they are on their way then."""
        taken: list[PendingChat] = []
        with suppress(IndexError):  # several threads may take the last one, where an engine is re-entrant
            while len(taken) < count:
                call = self._waiting.popleft()
                if not call.is_cancelled():
                    taken.append(call)
        return taken
