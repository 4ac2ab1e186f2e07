"""What every engine for chats does: answers, one by one or side by side."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.engine import Engine
from models.errors import ModelError
from models.tasks import ChatDelta, ChatJob

if TYPE_CHECKING:
    from models.entry import ModelEntry


@dataclass(frozen=True)
class PendingChat:
    """A chat job, where its answer goes, and whether anybody still waits for it.

    `tell` gets the pieces in order, the last one with `finish_reason`; or, instead of what is left, the error that
    ended the answer. A cancelled job gets nothing more.
    """

    job: ChatJob
    tell: Callable[[ChatDelta | Exception], None]
    is_cancelled: Callable[[], bool]


TakeWaiting = Callable[[int], Sequence[PendingChat]]
"""Gives up to so many jobs that have come meanwhile; each once, and from the thread of `answer` only."""


class ChatEngine(Engine):
    """Answers in words about pictures and text."""

    @classmethod
    def takes_tools(cls, entry: ModelEntry) -> bool:  # noqa: ARG003
        """Whether its model's template takes tools and it calls them by itself, as far as its files on disk say."""
        return False

    @property
    def max_batch(self) -> int:
        """How many jobs `answer` works on at once."""
        return 1

    @abstractmethod
    def stream(self, job: ChatJob, is_cancelled: Callable[[], bool]) -> Iterator[ChatDelta]:
        """The answer piece by piece, whole characters only; ends early once `is_cancelled()` is true."""

    def answer(self, asked: Sequence[PendingChat], take_waiting: TakeWaiting = lambda _: ()) -> None:  # noqa: ARG002
        """Answer several jobs, side by side where the engine can.

        One that can take in others midway asks for `take_waiting`, and answers them too.
        """
        for each in asked:
            try:
                for piece in self.stream(each.job, each.is_cancelled):
                    each.tell(piece)
            except ModelError as error:
                each.tell(error)
