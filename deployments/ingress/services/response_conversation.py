"""Items of the Responses API as the messages that a chat model reads."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from deployments.executors import COMPUTING, FILES
from deployments.ingress.errors import invalid
from deployments.ingress.requests.pictures import check_picture, from_base64, is_remote
from deployments.ingress.schemas.responses import (
    FunctionCallItem,
    FunctionResultItem,
    InputImage,
    InputText,
    Item,
    MessageItem,
    OutputText,
    PictureItem,
    ReasoningItem,
    Refusal,
)
from deployments.ingress.services.chat_jobs import PictureReader
from deployments.ingress.services.drawn_pictures import drawn_result, images_of, place_drawn
from deployments.ingress.services.server_tools import GENERATE
from models.tasks import ImagePart, Message, TextPart, ToolCall
from settings import Settings
from stores.errors import KeyNotFound
from stores.objects import PublicStore
from stores.uploads import Uploads

_LEFT_OUT: Final = TextPart("(an earlier picture)")
_ROLES: Final[dict[str, Literal["system", "user", "assistant"]]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


@dataclass(frozen=True)
class _Place:
    """Where an item is: what errors call it, and its fields where the caller can see them.

    Pictures of an earlier request do not count among those of this one.
    """

    where: str
    is_stored: bool
    is_earlier: bool

    def of(self, field: str) -> str:
        """A field of it."""
        return self.where if self.is_stored else f"{self.where}.{field}"


class Conversation:
    """The messages of items, added one after the other.

    Calls go into the message of the assistant before them, as chat templates want it.
    """

    def __init__(self, settings: Settings, files: PublicStore, leaves_out: int = 0) -> None:
        """`leaves_out`: of the earlier pictures so many become words, unread."""
        self._settings = settings
        self._to_leave_out = leaves_out
        self._fetched: dict[str, bytes] = {}
        self._files = files
        self._sent = PictureReader(settings)
        self._messages: list[Message] = []
        self._calls: list[ToolCall] = []
        """Of the last message, which gets them once another follows."""
        self.pictures_of_turn = 0
        """How many the user has sent since the assistant's last message: the last of `pictures`."""
        self.last_text: str | None = None
        """Of the last message of a user that has words."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """All of them, as a model reads them."""
        self._end_calls()
        return place_drawn(self._messages)

    @property
    def fetched(self) -> Mapping[str, bytes]:
        """The pictures behind http(s) URLs, by these."""
        return self._fetched

    @property
    def pictures(self) -> list[bytes]:
        """The pictures that the model sees, oldest first, encoded."""
        return [picture.image for picture in images_of(self.messages)]

    async def rewrite(self, rewritten: Callable[[Sequence[Message]], Awaitable[Sequence[Message]]]) -> None:
        """Have the model read other messages for those so far, such as what links lead to in the place of links."""
        self._end_calls()
        self._messages = list(await rewritten(self._messages))

    def add_text(self, role: Literal["system", "user"], text: str) -> None:
        """Add a message of words."""
        self._append(Message(role, (TextPart(text),)))
        if role == "user":
            self.last_text = text

    async def add(self, item: Item, where: str, *, is_stored: bool = False, is_earlier: bool = False) -> None:
        """Add an item. Errors name `where` and the field inside; of a stored item `where` alone.

        Raises:
            ApiError: 400 naming what cannot be read.
            InvalidImage: what should be a picture is none.
        """
        at = _Place(where, is_stored, is_earlier)
        match item:
            case MessageItem():
                parts = await self._parts(item.content, at, "content")
                if not parts and item.role != "assistant":
                    raise invalid(at.of("content"), f"{at.of('content')} is empty")
                self._append(Message(_ROLES[item.role], parts))
                words = "\n".join(part.text for part in parts if isinstance(part, TextPart))
                if item.role == "user" and words.strip():
                    self.last_text = words
            case FunctionCallItem():
                self._add_call(ToolCall(item.call_id, item.name, item.arguments))
            case FunctionResultItem():
                parts = await self._parts(item.output, at, "output")
                self._append(Message("tool", parts, call_id=item.call_id))
            case PictureItem():
                if at.is_stored and not at.is_earlier and item.result:  # those sent whole have the body's bound
                    self._sent.count(at.of("result"))
                await self._add_picture(item, at)
            case ReasoningItem():  # of another model
                pass

    async def upload(self, name: str, where: str) -> bytes:
        """The picture of an upload. Raises ApiError 400 naming `where`."""
        try:
            data = await FILES.run(self._files.get, Uploads.key(name))
        except KeyNotFound:
            raise invalid(where, f"{where}: there is no upload {name[:80]!r}; POST /upload makes one") from None
        return await check_picture(data, self._settings, where)

    async def _parts(
        self, content: str | Sequence[InputText | InputImage | OutputText | Refusal], at: _Place, name: str
    ) -> tuple[TextPart | ImagePart, ...]:
        if isinstance(content, str):
            return (TextPart(content),) if content else ()
        parts: list[TextPart | ImagePart] = []
        for j, part in enumerate(content):
            if isinstance(part, InputImage):
                parts.append(await self._picture(part, at, f"{name}[{j}]"))
            else:
                parts.append(TextPart(part.refusal if isinstance(part, Refusal) else part.text))
        return tuple(parts)

    async def _picture(self, part: InputImage, at: _Place, name: str) -> ImagePart | TextPart:
        if (part.image_url is None) == (part.file_id is None):
            where = at.of(name)
            raise invalid(where, f"{where}: give one of image_url and file_id", "missing_required_parameter")
        if self._is_left_out(at):
            return _LEFT_OUT
        reader = PictureReader(self._settings) if at.is_earlier else self._sent
        if part.image_url is not None:
            return await self._behind(part.image_url, reader, at.of(f"{name}.image_url"))
        where = at.of(f"{name}.file_id")
        reader.count(where)
        return ImagePart(await self.upload(part.file_id or "", where), where)

    def _is_left_out(self, at: _Place) -> bool:
        if not at.is_earlier or self._to_leave_out == 0:
            return False
        self._to_leave_out -= 1
        return True

    async def _behind(self, url: str, reader: PictureReader, where: str) -> ImagePart:
        """The picture behind a URL, each of which is fetched once."""
        if url in self._fetched:
            reader.count(where)
            return ImagePart(self._fetched[url], where)
        part = await reader.read(url, where)
        if is_remote(url):
            self._fetched[url] = part.image
        return part

    async def _add_picture(self, item: PictureItem, at: _Place) -> None:
        """A picture that was drawn is the result of a call of the tool that draws."""
        if not item.result:  # the drawing failed
            return
        where = at.of("result")
        seen = None
        if not self._is_left_out(at):
            data = await check_picture(await COMPUTING.run(from_base64, item.result, where), self._settings, where)
            seen = ImagePart(data, where)
        call = ToolCall(item.id or "", GENERATE, json.dumps({"prompt": item.revised_prompt or ""}, ensure_ascii=False))
        self._add_call(call)
        self._append(drawn_result(call.id, seen))

    def _append(self, message: Message) -> None:
        self._end_calls()
        if message.role in ("assistant", "tool"):
            self.pictures_of_turn = 0
        else:
            self.pictures_of_turn += len(images_of([message]))
        self._messages.append(message)

    def _add_call(self, call: ToolCall) -> None:
        if not self._messages or self._messages[-1].role != "assistant":
            self._append(Message("assistant", ()))
        self._calls.append(call)

    def _end_calls(self) -> None:
        if self._calls:
            self._messages[-1] = replace(self._messages[-1], calls=(*self._messages[-1].calls, *self._calls))
            self._calls = []


def picture_count(item: Item) -> int:
    """How many pictures an item has."""
    match item:
        case MessageItem(content=content) | FunctionResultItem(output=content):
            return 0 if isinstance(content, str) else sum(isinstance(part, InputImage) for part in content)
        case PictureItem(result=result):
            return int(bool(result))
    return 0
