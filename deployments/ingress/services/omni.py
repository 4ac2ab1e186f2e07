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
from deployments.ingress.schemas.chat import MAX_CHAT_IMAGES
from deployments.ingress.services.drawn_pictures import drawn_result, images_of, place_drawn
from deployments.ingress.services.jobs import Jobs
from deployments.ingress.services.owned_objects import OwnedObjects
from deployments.ingress.services.publishing import Publishing
from deployments.ingress.services.retention import GENERATED, SPOKEN
from deployments.ingress.services.server_tools import (
    GENERATE,
    SPEAK,
    Drawing,
    Speak,
    picture_tools,
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
        messages = place_drawn(await self.recalled(request, job.messages))
        pictures = [picture.image for picture in images_of(messages)]
        tools = self.tools(request, omni, pictures) if job.form is None else []
        ask = self.models.chats(omni.chat).stream
        async with aclosing(converse(ask, replace(job, messages=messages), tools)) as events:
            async for event in events:
                yield event

    def messages(self, request: Request, omni: Omni, job: ChatJob) -> AsyncGenerator[LoopEvent, None]:
        """The same for a dialect whose answers hold pictures; what is spoken is a link in the words."""
        return self.with_links(request, self.events(request, omni, job))

    async def with_links(
        self, request: Request, made: AsyncGenerator[LoopEvent, None]
    ) -> AsyncGenerator[LoopEvent, None]:
        """The events of an answer, in which what is spoken is a link in the words."""
        words = _Words()
        async with aclosing(made) as events:
            async for event in events:
                match event:
                    case ChatDelta(calls=calls):
                        yield words.said(event)
                        if calls:
                            words = _Words()
                    case SpokenText():
                        yield words.made(await self.speech_link(request, event))
                    case DrawnPicture():  # words after it are a part of their own, as they are after a call
                        words = _Words()
                        yield event
                    case _:
                        yield event

    async def speech_link(self, request: Request, spoken: SpokenText) -> str:
        """Keep what was spoken; a link to it with the words as its text."""
        return f"[{_label(spoken.text)}]({await self.keep(request, SPOKEN, spoken.format, spoken.data)})"

    async def keep(self, request: Request, folder: str, extension: str, data: bytes) -> str:
        """Store what was made, for the caller; its signed URL, which works as long as the file is kept."""
        prefix = self.settings.image_prefix if folder == GENERATED else self.settings.voice_prefix
        key = f"{prefix}{folder}{uuid.uuid4()}.{extension}"
        await self.objects.write_new(request, key, data)
        seconds = int(self.settings.files.max_age_days * 86_400)
        if self.settings.r2.enabled:
            seconds = min(seconds, _LONGEST_PRESIGNED)
        return self.publishing.signed_url(request, key, seconds)

    async def recalled(self, request: Request, messages: Sequence[Message]) -> list[Message]:
        """The messages in which what earlier answers made is a call again, for `place_drawn`.

        A model that saw the links would learn to write links instead of calling. Of the pictures the newest are read,
        as many as the conversation has room for.
        """
        there = sum(len(_keys(_words(each), _PICTURE)) for each in messages)
        room = max(0, MAX_CHAT_IMAGES - len(images_of(messages)))
        reads = _Reads(too_old=there - min(MAX_RECALLED, room))
        return [told for message in messages for told in await self._as_calls(request, message, reads)]

    async def _as_calls(self, request: Request, message: Message, reads: _Reads) -> list[Message]:
        """An answer taken apart: words, calls with results, words."""
        text, told, end = _words(message), list[Message](), 0
        for link in _MADE.finditer(text):
            picture, speech = _key(link["url"], _PICTURE), _key(link["url"], _SPEECH)
            if picture is None and speech is None:
                continue
            words = text[end : link.start()].strip()
            end = link.end()
            call_id = hashlib.sha256(link["url"].encode()).hexdigest()[:9]
            if picture is not None:
                arguments, name = {"prompt": link["label"]}, GENERATE
                data = await self._read(request, picture) if reads.is_recent() else None
                result: Message = drawn_result(call_id, None if data is None else ImagePart(data, "messages"))
            else:
                arguments, name = {"text": link["label"]}, SPEAK
                result = Message("tool", (TextPart("Spoken."),), call_id=call_id)
            call = ToolCall(call_id, name, json_arguments(arguments))
            told.append(Message("assistant", (TextPart(words),) if words else (), (call,)))
            told.append(result)
        rest = text[end:].strip()
        if not told:
            return [message]
        return [*told, replace(message, parts=(TextPart(rest),) if rest else ())] if rest or message.calls else told

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
    """Which pictures of earlier answers are read, asked for one after the other: all but the first `too_old`."""

    too_old: int

    def is_recent(self) -> bool:
        self.too_old -= 1
        return self.too_old < 0


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
                return words.made(await self._omnis.speech_link(self._request, event))
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


def _words(message: Message) -> str:
    """What an answer says; empty for all other messages."""
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    return "\n\n".join(texts) if message.role == "assistant" and len(texts) == len(message.parts) else ""


def _keys(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The keys behind the links of a text."""
    return [key for link in _MADE.finditer(text) if (key := _key(link["url"], pattern)) is not None]


def _key(url: str, pattern: re.Pattern[str]) -> str | None:
    """The key of what this server has made, without its prefix, from the URL that it handed out."""
    try:
        path = unquote(urlsplit(url).path)
    except ValueError:
        return None
    found = pattern.search(path)
    return None if found is None else found[1]
