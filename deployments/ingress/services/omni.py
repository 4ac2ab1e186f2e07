"""Chats by an alias of `engine: omni`: the model draws and speaks in the middle of an answer.

What it made stands in the words of the answer, as every chat client shows it: a picture in markdown, speech as a link,
both by signed URLs. When the client sends the conversation again, what stands behind these URLs is read from the store,
as long as retention keeps it, so that a picture can be looked at and changed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.requests import Request

from deployments.imaging import Progress
from deployments.ingress.calls.model_calls import ModelCalls
from deployments.ingress.errors import ApiError, invalid
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.owned_objects import OwnedObjects
from deployments.ingress.services.publishing import Publishing
from deployments.ingress.services.retention import GENERATED, SPOKEN
from deployments.ingress.services.server_tools import (
    GENERATE,
    OLD_PICTURE,
    SPEAK,
    Drawing,
    Speak,
    picture_tools,
    shown_picture,
)
from deployments.ingress.services.tool_loop import (
    DrawnPicture,
    LoopEvent,
    ServerTool,
    SpokenText,
    ToolBegun,
    ToolProgress,
    converse,
)
from deployments.vision import Answer
from models.chat.calls import json_arguments, whole_calls
from models.tasks import ChatDelta, ChatJob, ImagePart, Message, TextPart, ToolCall
from settings import Omni, Settings
from stores.errors import StoreError

logger = logging.getLogger("ray.serve")

MAX_RECALLED: Final = 4
"""Pictures of earlier answers that are read again: the newest."""
_LONGEST_PRESIGNED: Final = 604_800
"""Seconds: a bucket signs for no longer."""
_LONGEST_LABEL: Final = 300
_MADE: Final = re.compile(r"!?\[(?P<label>[^\[\]]*)\]\((?P<url>[^\s()]+)\)")
"""A link as it is handed out. No part goes past where the next link could begin, so that a long text is read once."""
_PICTURE: Final = re.compile(rf"(?:^|/)({GENERATED}[0-9a-f-]{{36}}\.png)$")
_SPEECH: Final = re.compile(rf"(?:^|/)({SPOKEN}[0-9a-f-]{{36}}\.mp3)$")
_TENTH: Final = 0.1


@dataclass(frozen=True)
class ProgressDelta(ChatDelta):
    """A piece of an answer that says how the work goes, for clients that show what a model does before it answers."""

    progress: str = ""


@dataclass(frozen=True)
class Omnis:
    """What the aliases made of others work with."""

    settings: Settings
    models: ModelCalls
    jobs: Jobs
    objects: OwnedObjects
    publishing: Publishing

    def chats(self, request: Request, omni: Omni, *, offers: bool = True) -> OmniChats:
        """The calls of such an alias for one request; without `offers` its model is offered no tool of the server's."""
        return OmniChats(self, request, omni, offers=offers)

    def tools(self, request: Request, omni: Omni, pictures: list[bytes]) -> list[ServerTool]:
        """What its model may call; `pictures` are those of the conversation, to which are added those that it draws."""
        tools = self.speech_tools(request, omni)
        if omni.image is None:
            return tools
        return [*picture_tools(Drawing(request, self.models, self.jobs, self.settings, omni.image, pictures)), *tools]

    def speech_tools(self, request: Request, omni: Omni) -> list[ServerTool]:
        """Those that speak."""
        if omni.voice is None:
            return []
        return [Speak(request, self.models, self.jobs, omni.voice, is_marked=self.settings.voice_marked)]

    async def events(self, request: Request, omni: Omni, job: ChatJob) -> AsyncGenerator[LoopEvent, None]:
        """The answer to a job as `converse` gives it, with what earlier answers have made."""
        messages = await self.recalled(request, job.messages)
        pictures = [part.image for each in messages for part in each.parts if isinstance(part, ImagePart)]
        tools = self.tools(request, omni, pictures) if job.form is None else []
        ask = self.models.chats(omni.chat).stream
        async with aclosing(converse(ask, replace(job, messages=messages), tools)) as events:
            async for event in events:
                yield event

    async def messages(self, request: Request, omni: Omni, job: ChatJob) -> AsyncGenerator[LoopEvent, None]:
        """The same for a dialect whose answers hold pictures; what is spoken is a link in the words."""
        async with aclosing(self.with_links(request, self.events(request, omni, job))) as events:
            async for event in events:
                yield event

    async def with_links(
        self, request: Request, made: AsyncGenerator[LoopEvent, None]
    ) -> AsyncGenerator[LoopEvent, None]:
        """The events of an answer, in which what is spoken is a link in the words."""
        async with aclosing(made) as events:
            async for event in events:
                if isinstance(event, SpokenText):
                    url = await self.keep(request, SPOKEN, event.format, event.data)
                    yield ChatDelta(f"[{_label(event.text)}]({url})\n\n")
                else:
                    yield event

    async def keep(self, request: Request, folder: str, extension: str, data: bytes) -> str:
        """Store what was made, for the caller; its signed URL, which works as long as the file is kept."""
        prefix = self.settings.image_prefix if folder == GENERATED else self.settings.voice_prefix
        key = f"{prefix}{folder}{uuid.uuid4()}.{extension}"
        await self.objects.write_new(request, key, data)
        seconds = int(self.settings.files.max_age_days * 86_400)
        if self.settings.r2.enabled:
            seconds = min(seconds, _LONGEST_PRESIGNED)
        return self.publishing.signed_url(request, key, seconds)

    async def recalled(self, request: Request, messages: Sequence[Message]) -> tuple[Message, ...]:
        """The messages in which what earlier answers made is a call again, and its picture goes to the next user's.

        A model that saw the links would learn to write links instead of calling.
        """
        reads = _Reads(sum(len(_links(each, _PICTURE)) for each in messages))
        told: list[Message] = []
        waiting: list[ImagePart] = []
        for message in messages:
            if message.role == "assistant":
                told += await self._as_calls(request, message, reads, waiting)
                continue
            reads.seen += sum(isinstance(part, ImagePart) for part in message.parts)
            if message.role == "user" and waiting:
                message = replace(message, parts=(*waiting, *message.parts))
                waiting = []
            told.append(message)
        return tuple(told)

    async def _as_calls(
        self, request: Request, message: Message, reads: _Reads, pictures: list[ImagePart]
    ) -> list[Message]:
        """An answer taken apart: words, calls with results, words; what its pictures show is added to `pictures`."""
        if len(message.parts) != 1 or not isinstance(message.parts[0], TextPart):
            return [message]
        text, told, end = message.parts[0].text, list[Message](), 0
        for link in _MADE.finditer(text):
            picture, speech = _key(link["url"], _PICTURE), _key(link["url"], _SPEECH)
            if picture is None and speech is None:
                continue
            words = text[end : link.start()].strip()
            end = link.end()
            if picture is not None:
                reads.count += 1
                arguments, name, result = {"prompt": link["label"]}, GENERATE, OLD_PICTURE
                if reads.is_recent and (data := await self._read(request, picture)) is not None:
                    reads.seen += 1
                    result = shown_picture(reads.seen)
                    pictures.append(ImagePart(data, f"picture {reads.seen}"))
            else:
                arguments, name, result = {"text": link["label"]}, SPEAK, "Spoken."
            call = ToolCall(hashlib.sha256(link["url"].encode()).hexdigest()[:9], name, json_arguments(arguments))
            told.append(Message("assistant", (TextPart(words),) if words else (), (call,)))
            told.append(Message("tool", (TextPart(result),), call_id=call.id))
        rest = text[end:].strip()
        if not told:
            return [message]
        return [*told, replace(message, parts=(TextPart(rest),))] if rest or message.calls else told

    async def _read(self, request: Request, key: str) -> bytes | None:
        """A picture that was drawn for this caller; None where it is not kept any more, or is somebody else's."""
        try:
            prefixed = f"{self.settings.image_prefix}{key}"
            return await self.objects.read(request, prefixed, "messages", self.settings.image_max_bytes)
        except (ApiError, StoreError) as error:
            logger.info("a picture of an earlier answer is not there to look at: %s", error)
            return None


@dataclass
class _Reads:
    """How many pictures earlier answers have, how many of them have been come to, and how many pictures are shown."""

    total: int
    count: int = 0
    seen: int = 0

    @property
    def is_recent(self) -> bool:
        return self.count > self.total - MAX_RECALLED


class OmniChats:
    """Calls of an alias made of others, as `ChatCalls` are those of a chat model; what it makes is in the words."""

    def __init__(self, omnis: Omnis, request: Request, omni: Omni, *, offers: bool) -> None:
        self._omnis, self._request, self._omni = omnis, request, omni
        self._offers = offers

    async def answer_each(self, jobs: Sequence[ChatJob]) -> list[Answer]:
        """The whole answer. Raises as `stream_each`."""
        async with aclosing(self.stream_each(jobs)) as pieces:
            return [_whole([piece async for _, piece in pieces])]

    async def stream_each(self, jobs: Sequence[ChatJob]) -> AsyncGenerator[tuple[int, ChatDelta], None]:
        """The answer as it is written, with the number 0.

        Raises:
            ApiError: 400 for more jobs than one; what `converse` raises.
        """
        if len(jobs) > 1:
            raise invalid("n", f"n: {len(jobs)}; this model, which draws and speaks, gives one answer at a time")
        if not self._offers:
            async with aclosing(self._omnis.models.chats(self._omni.chat).stream(jobs[0])) as pieces:
                async for piece in pieces:
                    yield 0, piece
            return
        words = _Words()
        async with aclosing(self._omnis.events(self._request, self._omni, jobs[0])) as events:
            async for event in events:
                if (delta := await self._delta(event, words)) is not None:
                    yield 0, delta

    async def _delta(self, event: LoopEvent, words: _Words) -> ChatDelta | None:
        """What the caller gets of an event."""
        match event:
            case ChatDelta():
                return words.said(event)
            case ToolBegun():
                words.share = 0.0
                return ProgressDelta("", progress=f"{_label(event.subject)}\n")
            case ToolProgress(piece=Progress() as piece) if (
                piece.total and piece.done / piece.total >= words.share + _TENTH
            ):
                words.share = piece.done / piece.total
                return ProgressDelta("", progress=f"{words.share:.0%}\n")
            case DrawnPicture():
                url = await self._omnis.keep(self._request, GENERATED, event.format, event.data)
                return words.made(f"![{_label(event.job.prompt)}]({url})")
            case SpokenText():
                url = await self._omnis.keep(self._request, SPOKEN, event.format, event.data)
                return words.made(f"[{_label(event.text)}]({url})")
        return None


class _Words:
    """What has been said so far, so that what was made stands in paragraphs of its own."""

    def __init__(self) -> None:
        self._end, self._is_after_made = "", False
        self.share = 0.0

    def said(self, delta: ChatDelta) -> ChatDelta:
        if not delta.text:
            return delta
        text = f"\n\n{delta.text.lstrip()}" if self._is_after_made else delta.text
        self._end, self._is_after_made = text[-2:], False
        return replace(delta, text=text)

    def made(self, markdown: str) -> ChatDelta:
        gap = "" if not self._end else "\n\n"
        self._end, self._is_after_made = markdown[-2:], True
        return ChatDelta(gap + markdown)


def _whole(deltas: Sequence[ChatDelta]) -> Answer:
    last = deltas[-1]
    assert last.finish_reason is not None
    assert last.usage is not None
    logprobs = tuple(one for delta in deltas for one in delta.logprobs)
    calls = whole_calls([call for delta in deltas for call in delta.calls])
    text = "".join(delta.text for delta in deltas)
    return Answer(text, last.finish_reason, last.usage, logprobs, calls, last.ignored)


def _label(text: str) -> str:
    """The text as it stands in a link: one line, without brackets, not too long."""
    line = " ".join(text.replace("[", "(").replace("]", ")").split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…"


def _links(message: Message, pattern: re.Pattern[str]) -> list[str]:
    """The keys behind the links of an answer."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)] if message.role == "assistant" else []
    found = (_key(link["url"], pattern) for text in texts for link in _MADE.finditer(text))
    return [key for key in found if key is not None]


def _key(url: str, pattern: re.Pattern[str]) -> str | None:
    """The key of what this server has made, without its prefix, from the URL that it handed out."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    found = pattern.search(path)
    return None if found is None else found[1]
