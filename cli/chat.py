"""`atelier chat`: a question to a chat model of a running server, or a conversation with it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel

from cli.outputs import AsJson, one_stdin, read_file, read_text, write_json, write_line
from cli.search import Patience, ServerUrl, told_in_one_line
from cli.server import PATIENCE_SECONDS, Answer, CommandError, Mistake, Server, api_key, server_url

_PATH: Final = "/v1/chat/completions"


class _Model(BaseModel):
    id: str
    capabilities: list[str] = []


class _Models(BaseModel):
    data: list[_Model]


@dataclass
class _Conversation:
    url: str
    patience: float
    model: str | None
    options: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, content: list[dict[str, Any]]) -> None:
        """Print the answer as it comes. One that is stopped or fails is as if it had not been asked for."""
        self.messages.append({"role": "user", "content": content})
        try:
            answer = asyncio.run(self._stream())
        except BaseException:
            self.messages.pop()
            raise
        self.messages.append({"role": "assistant", "content": answer})

    def whole(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer as the server gives it."""
        self.messages.append({"role": "user", "content": content})

        async def work() -> dict[str, Any]:
            async with self._server() as server:
                return (await server.ask(Answer, "POST", _PATH, json=await self._body(server))).root

        return asyncio.run(work())

    async def _stream(self) -> str:
        pieces: list[str] = []
        async with self._server() as server:
            body = {**await self._body(server), "stream": True}
            async with aclosing(server.events(_PATH, json=body)) as events:
                async for event in events:
                    for choice in event.get("choices") or []:
                        if piece := choice.get("delta", {}).get("content"):
                            pieces.append(piece)
                            write_line(piece, end="")
        write_line()
        return "".join(pieces)

    def _server(self) -> Server:
        return Server(self.url, api_key(), patience=self.patience)

    async def _body(self, server: Server) -> dict[str, Any]:
        """The request; without a model the first that chats, and of pictures the first that sees them."""
        if self.model is None:
            sees = any(part["type"] == "image_url" for each in self.messages[:2] for part in _parts(each))
            needed = "chat.vision" if sees else "chat"
            found = (await server.ask(_Models, "GET", "/v1/models")).data
            self.model = next((each.id for each in found if needed in each.capabilities), None)
            if self.model is None:
                raise CommandError(f"the server at {self.url} has no model that can {needed}")
        return {"model": self.model, "messages": self.messages, **self.options}


def chat(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What to ask; - reads it from stdin.", show_default=False)
    ] = None,
    image: Annotated[list[Path] | None, typer.Option(help="A picture to talk about; repeatable.")] = None,
    model: Annotated[
        str | None, typer.Option(help="An alias of `atelier models`; else the first that chats.", show_default=False)
    ] = None,
    system: Annotated[str | None, typer.Option(help="What the model is to be.", show_default=False)] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="How long, at most.", show_default=False)] = None,
    temperature: Annotated[float | None, typer.Option(help="0 to 2; 0 by default.", show_default=False)] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Ask a chat model; without a TEXT talk to it, where Ctrl-C stops an answer and Ctrl-D ends the talk."""
    with told_in_one_line():
        if text is None and not sys.stdin.isatty():
            text = "-"
        if text is None and as_json:
            raise Mistake("--json: needs a TEXT")
        one_stdin(text, *(image or []))
        options = {"max_tokens": max_tokens, "temperature": temperature}
        given = {name: value for name, value in options.items() if value is not None}
        conversation = _Conversation(server_url(server), patience, model, given)
        if system is not None:
            conversation.messages.append({"role": "system", "content": system})
        pictures = [_picture(each) for each in image or []]
        if text is None:
            _talk(conversation, pictures)
            return
        content = [*pictures, _text(read_text(text, "TEXT"))]
        if as_json:
            write_json(conversation.whole(content))
        else:
            conversation.ask(content)


def _talk(conversation: _Conversation, pictures: list[dict[str, Any]]) -> None:
    """Take questions from the terminal until it has no more."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` a history and the arrow keys; some builds of Python have none
    while True:
        try:
            asked = input("> ").strip()
        except EOFError:
            write_line()
            return
        if not asked:
            continue
        try:
            conversation.ask([*pictures, _text(asked)])
        except KeyboardInterrupt:
            print("\natelier: stopped", file=sys.stderr)
        except CommandError as error:
            print(f"atelier: {error}", file=sys.stderr)
        else:
            pictures = []  # they are part of the conversation now


def _picture(path: Path) -> dict[str, Any]:
    content = base64.b64encode(read_file(path, "--image")).decode()
    # The server looks at the bytes, whatever type is named.
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{content}"}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    return message["content"] if isinstance(message["content"], list) else []
