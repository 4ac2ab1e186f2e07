"""One answer as its tokens come, alone or in a row beside others."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from queue import SimpleQueue
from threading import Event, Thread
from typing import Literal

from models.chat.engine import PendingChat
from models.chat.streaming import TokenText
from models.tasks import ChatDelta, TokenLogprob, Usage


class AnswerStream:
    """An answer being written: takes its tokens, tells its text, knows when it ends.

    `read` and `image_tokens` are what the prompt has; `limit` is how many tokens may be written. `logprob(token)` is
    what to tell of the token that was written last, None for nothing.
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
    ) -> None:
        self.read, self.limit = read, limit
        self.done = False
        self.asked = asked
        self._ends, self._image_tokens, self._logprob = ends, image_tokens, logprob
        self._text = TokenText(decode, asked.job.stop)
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
            if piece:
                self.asked.tell(ChatDelta(piece, logprobs=tuple(self._logprobs)))
                self._logprobs.clear()
        ended = ended or self._text.stopped
        if ended or self._written == self.limit:
            usage = Usage(self.read, self._written, self._image_tokens)
            reason: Literal["stop", "length"] = "stop" if ended else "length"
            self.asked.tell(ChatDelta(self._text.finish(), reason, usage, tuple(self._logprobs)))
            self.done = True
        else:
            self.done = self.asked.is_cancelled()
        return self.done

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
