"""Models that say what a test wants, as Serve would pass it on, and the application over them."""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from PIL import Image

import settings as configuration
from deployments.imaging import FinishedImage, ImageEvent, Output, Partial, Progress
from deployments.ingress.app import create_app
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.dependencies import Atelier
from deployments.storage import open_store
from deployments.vision import Answer
from deployments.voice import SpeechChunk
from models.chat.calls import whole_calls
from models.speech.audio_writing import AudioFormat
from models.tasks import CallDelta, ChatDelta, ChatJob, ImageJob, SpeechJob, Usage

ARGS: Final = {
    "models": {
        "chat": {"engine": "vlm", "checkpoint": "builtin:vlm"},
        "image": {"engine": "diffusion", "checkpoint": "builtin:image"},
        "other": {"engine": "diffusion", "checkpoint": "builtin:image"},
        "voice": {"engine": "espeak", "checkpoint": "builtin:voice"},
        "all": {"engine": "omni", "chat": "chat", "image": "image", "voice": "voice"},
    },
    "image_search_enabled": False,
}
USAGE: Final = Usage(10, 4, 2)
END: Final = ChatDelta("", "stop", USAGE)
CALLS_END: Final = ChatDelta("", "tool_calls", USAGE)
HELLO: Final = (ChatDelta("Hello"), ChatDelta(" there."), END)
HOLD: Final = "hold"
"""In a play: what follows comes when the test lets it."""


def call(name: str, *arguments: str, index: int = 0, call_id: str = "call_1") -> list[ChatDelta]:
    """A call as a model writes it, its arguments in pieces."""
    first = ChatDelta("", calls=(CallDelta(index, "", call_id, name),))
    return [first, *(ChatDelta("", calls=(CallDelta(index, each),)) for each in arguments)]


class Stage:
    """What the models of a test are to say, and what they were asked."""

    def __init__(self) -> None:
        self.plays: deque[Sequence[ChatDelta | Exception | str]] = deque()
        self.jobs: list[ChatJob] = []
        self.image_jobs: list[tuple[ImageJob, Output]] = []
        self.speech_jobs: list[SpeechJob] = []
        self.image_error: Exception | None = None
        self.holds_image = False
        self.may_go_on = asyncio.Event()
        self.was_left = asyncio.Event()

    async def hold(self) -> None:
        try:
            await self.may_go_on.wait()
        except BaseException:
            self.was_left.set()
            raise


class Handle:
    """Serve's handle of a deployment, which calls it in this event loop."""

    def __init__(self, replica: PlayedChat | PlayedPainter | PlayedVoice) -> None:
        self._replica = replica

    def options(self, *, stream: bool) -> Handle:
        assert stream
        return self

    def __getattr__(self, method: str) -> Remote:
        return Remote(getattr(self._replica, method))


class Remote:
    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def remote(self, *args: object) -> Reply:
        return Reply(self._method(*args))


class Reply:
    def __init__(self, work: Any) -> None:
        self._work = work

    def __await__(self) -> Any:
        return self._work.__await__()

    async def __anext__(self) -> Any:
        return await anext(self._work)

    def cancel(self) -> None:
        """Nothing: what is cancelled here is cancelled there."""


class PlayedChat:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def chat(self, job: ChatJob) -> Answer:
        pieces = [piece async for piece in self.chat_stream(job)]
        last = pieces[-1]
        assert last.finish_reason is not None
        assert last.usage is not None
        text = "".join(piece.text for piece in pieces)
        logprobs = tuple(token for piece in pieces for token in piece.logprobs)
        calls = whole_calls([piece for each in pieces for piece in each.calls])
        return Answer(text, last.finish_reason, last.usage, logprobs, calls, last.ignored)

    async def chat_stream(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        stage = self._stage
        stage.jobs.append(job)
        for piece in stage.plays.popleft() if stage.plays else HELLO:
            if isinstance(piece, str):
                await stage.hold()
            elif isinstance(piece, Exception):
                raise piece
            else:
                yield piece


class PlayedPainter:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def generate(self, job: ImageJob, output: Output) -> AsyncIterator[ImageEvent]:
        stage = self._stage
        stage.image_jobs.append((job, output))
        yield Progress(1, 2)
        for index in range(output.partials):
            yield Partial(0, index, picture_of(job, output, (index, index, index)))
        if stage.holds_image:
            await stage.hold()
        if stage.image_error is not None:
            raise stage.image_error
        yield FinishedImage(picture_of(job, output), job.seed)


class PlayedVoice:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def speak(self, job: SpeechJob, audio_format: AudioFormat, comment: str | None) -> SpeechChunk:
        self._stage.speech_jobs.append(job)
        return SpeechChunk(job.text.encode(), 1.0)


def picture_of(job: ImageJob, output: Output, colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (job.width, job.height), colour).save(buffer, output.format.upper())
    return buffer.getvalue()


def app_over(stage: Stage, home: Path, environ: Mapping[str, str] | None = None) -> FastAPI:
    settings = configuration.validate(ARGS, {"ATELIER_HOME": str(home), **(environ or {})})
    handles: Any = {
        "chat": Handle(PlayedChat(stage)),
        "image": Handle(PlayedPainter(stage)),
        "other": Handle(PlayedPainter(stage)),
        "voice": Handle(PlayedVoice(stage)),
    }
    return create_app(Atelier(settings, ModelCalls(settings, handles), open_store(settings), None))
