"""Chat that sees: one vision-language model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from deployments.replica import IsCancelled, ModelReplica
from models.engine import ChatEngine
from models.errors import Cancelled
from models.tasks import ChatDelta, ChatJob, TokenLogprob, Usage


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    text: str
    finish_reason: Literal["stop", "length"]
    usage: Usage
    logprobs: tuple[TokenLogprob, ...] = ()


class Vision(ModelReplica[ChatEngine]):
    """Answers about pictures and text."""

    async def chat(self, job: ChatJob) -> Answer:
        """The answer in one piece."""

        def work(is_cancelled: IsCancelled) -> list[ChatDelta]:
            pieces = list(self.engine.stream(job, is_cancelled))
            if is_cancelled():  # the answer may lack its last piece, and nobody waits for it
                raise Cancelled
            return pieces

        pieces = await self.run(work)
        last = pieces[-1]
        assert last.finish_reason is not None
        assert last.usage is not None
        told = tuple(logprob for piece in pieces for logprob in piece.logprobs)
        return Answer("".join(piece.text for piece in pieces), last.finish_reason, last.usage, told)

    async def chat_stream(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        """The answer as it is written."""
        async for delta in self.stream(lambda is_cancelled: self.engine.stream(job, is_cancelled)):
            yield delta
