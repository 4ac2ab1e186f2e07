"""One answer as its tokens come, alone or in a row beside others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from queue import SimpleQueue
from threading import Event, Thread

from models.chat.calls import CallReader
from models.chat.engine import PendingChat
from models.chat.streaming import TokenText
from models.tasks import CallDelta, ChatDelta, FinishReason, TokenLogprob, Usage


class AnswerStream:
    """An answer being written: takes its tokens, tells its text, knows when it ends.

    `read` and `image_tokens` are what the prompt has; `limit` is how many tokens may be written. `logprob(token)` is
    what to tell of the token that was written last, None for nothing. `calls` finds calls of tools in the text.
    """

    def __init__(
        self,
        asked: PendingChat,
        decode: Callable[[list[int]], str],
        ends: Collection[int],
        read: int,
        image_tokens: int,
        limit: int,
        logprob: Callable[[int], TokenLogprob | None],
        calls: CallReader | None = None,
    ) -> None:
        self.read, self.limit = read, limit
        self.done = False
        self.asked = asked
        self._ends, self._image_tokens, self._logprob = ends, image_tokens, logprob
        self._calls = calls
        self._ignored = ("tools",) if asked.job.tools and calls is None else ()
        self._text = TokenText(decode, () if asked.job.must_call else asked.job.stop)  # JSON has no stop texts
        self._logprobs: list[TokenLogprob] = []
        self._written = 0

    @property
    def untouched(self) -> bool:
        """Whether it may be started again: nothing has been written."""
        return not self.done and self._written == 0

    def take(self, token: int) -> bool:
        """Go on by a token; whether the answer has ended, by itself or because nobody waits for it."""
        if self.done:
            return True
        self._written += 1
        ended = token in self._ends
        if not ended:
            piece = self._text.push(token)
            if (logprob := self._logprob(token)) is not None:
                self._logprobs.append(logprob)
            if self._text.stopped:
                self._logprobs = _within(piece, self._logprobs)
            self._tell(piece)
        ended = ended or self._text.stopped
        if ended or self._written == self.limit:
            self._end(ended=ended)
        else:
            self.done = self.asked.is_cancelled()
        return self.done

    def _tell(self, text: str) -> None:
        calls: tuple[CallDelta, ...] = ()
        if self._calls is not None:
            text, calls = self._calls.push(text)
        if text or calls:
            logprobs = tuple(self._logprobs)
            self.asked.tell(ChatDelta(text, logprobs=logprobs, calls=calls, ignored=self._ignored))
            self._logprobs.clear()

    def _end(self, *, ended: bool) -> None:
        reason: FinishReason = "stop" if ended else "length"
        text = self._text.finish()
        if self._calls is not None:
            self._tell(text)
            text, calls = self._calls.finish()
            if calls:
                self.asked.tell(ChatDelta("", calls=calls))
            if self._calls.has_called and ended:
                reason = "tool_calls"
        usage = Usage(self.read, self._written, self._image_tokens)
        logprobs = tuple(self._logprobs)
        self.asked.tell(ChatDelta(text, reason, usage, logprobs, ignored=self._ignored, stop=self._text.met))
        self.done = True

    def fail(self, error: Exception) -> None:
        """End with an error."""
        if not self.done:
            self.done = True
            self.asked.tell(error)


def _within(text: str, logprobs: list[TokenLogprob]) -> list[TokenLogprob]:
    """Those of the tokens that the text is made of, without those of a stop text behind it."""
    ends = itertools.accumulate(len(one.token) for one in logprobs)
    return [one for one, end in zip(logprobs, ends, strict=True) if end <= len(text)]


class Listener:
    """Reads an answer as an iterator: its methods are `PendingChat.tell` and `PendingChat.is_cancelled`."""

    def __init__(self, is_cancelled: Callable[[], bool]) -> None:
        self._pieces: SimpleQueue[ChatDelta | BaseException | None] = SimpleQueue()
        self._stop = Event()
        self._has_left = is_cancelled
        self.tell: Callable[[ChatDelta | Exception], None] = self._pieces.put

    def is_cancelled(self) -> bool:
        """Whether nobody reads on."""
        return self._stop.is_set() or self._has_left()

    def pieces(self, work: Callable[[], None]) -> Iterator[ChatDelta]:
        """What `work` tells, as it comes; it works in a thread of its own while this is iterated.

        Closing the iterator cancels the work and waits until it has stopped.
        """

        def run() -> None:
            try:
                work()
                self._pieces.put(None)
            except BaseException as error:  # noqa: BLE001 - it is raised in the reader's thread
                self._pieces.put(error)

        thread = Thread(target=run, name="answer", daemon=True)
        thread.start()
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            self._stop.set()
            thread.join()
