"""`atelier listen`: what is said in a recording, where the server can tell."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.outputs import STANDARD, AsJson, read_file, write_json, write_line
from cli.search import Patience, ServerUrl, told_in_one_line
from cli.server import PATIENCE_SECONDS, Answer, CommandError, NoRoute, Server, api_key, server_url
from cli.uploads import shown

_MODEL = "whisper-1"


def listen(
    sound: Annotated[Path, typer.Argument(metavar="SOUND", help="A recording; - reads it from stdin.")],
    model: Annotated[str, typer.Option(help="The model that listens.")] = _MODEL,
    language: Annotated[str | None, typer.Option(help="What is spoken, as BCP 47.", show_default=False)] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Print what is said in a recording, by the model `listen`."""
    with told_in_one_line():
        name = "stdin" if sound == STANDARD else shown(sound.name)
        fields = {"model": model, "response_format": "json"} | ({} if language is None else {"language": language})
        content: dict[str, Any] = {"data": fields, "files": {"file": (name, read_file(sound, "SOUND"))}}
        url = server_url(server)
        answer = asyncio.run(_transcribe(Server(url, api_key(), patience=patience), content))
        if as_json:
            write_json(answer)
            return
        if not isinstance(answer.get("text"), str):
            raise CommandError(f"what answers at {url} is no Atelier server, or one of another version")
        write_line(answer["text"])


async def _transcribe(server: Server, content: dict[str, Any]) -> dict[str, Any]:
    async with server:
        try:
            return (await server.ask(Answer, "POST", "/v1/audio/transcriptions", **content)).root
        except NoRoute:
            raise CommandError(f"the server at {server.url} serves no transcriptions") from None
