"""`atelier say`: a text spoken by a running server, into a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

from cli.outputs import ResultAsJson, check_folder, read_text, write_json, write_line
from cli.search import told_in_one_line
from cli.server import Mistake, Server, api_key, server_url
from cli.uploads import shown

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
_MODEL, _VOICE = "tts-1", "alloy"


def say(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is said; - reads it from stdin.")],
    voice: Annotated[
        str | None, typer.Option(help=f"Name or id of a voice; {_VOICE} if none is given.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option(help=f"The model that speaks; {_MODEL} if none is given.", show_default=False)
    ] = None,
    language: Annotated[str, typer.Option(help="Name or BCP 47; auto goes by the script.")] = "auto",
    ref_audio: Annotated[
        Path | None, typer.Option(help="A recording to speak like, in place of a voice.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help=f"The file to write: .{', .'.join(FORMATS)}.")] = Path("speech.mp3"),
    url: Annotated[
        str | None,
        typer.Option("--url", "--server", envvar="ATELIER_URL", help="The server's; else that of HOST and PORT."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The key that is sent; else ATELIER_API_KEY.", show_default=False)
    ] = None,
    as_json: ResultAsJson = False,
) -> None:
    """Speak a text into a file, which is there once it is whole."""
    with told_in_one_line():
        audio_format = _format_of(out)
        text = read_text(text, "TEXT")
        if ref_audio is None:
            path = "/v1/audio/speech"
            asked = {"model": model or _MODEL, "voice": voice or _VOICE, "input": text, "language": language}
            content: dict[str, Any] = {"json": {**asked, "response_format": audio_format}}
        else:
            path = "/v1/voice/generate"
            form = {"text": text, "language": language, "response_format": audio_format}
            content = {"data": form, "files": {"ref_audio": _recording(ref_audio, voice, model)}}
        draft = out.with_name(f".{out.name}.part")
        try:
            asyncio.run(_fetch(Server(server_url(url), api_key(key)), path, draft, content))
            draft.replace(out)
        finally:
            draft.unlink(missing_ok=True)
        size = out.stat().st_size
        if as_json:
            write_json({"file": shown(out), "format": audio_format, "bytes": size})
        else:
            write_line(f"{shown(out)}: {decimal(size)}")


async def _fetch(server: Server, path: str, target: Path, content: dict[str, Any]) -> None:
    async with server:
        await server.download(path, target, "POST", **content)


def _format_of(out: Path) -> str:
    """The format that the file's name ends with. Raises `CommandError`, also where nothing could be written."""
    audio_format = out.suffix.removeprefix(".").lower()
    if audio_format not in FORMATS:
        raise Mistake(f"--out: {shown(out)}: the name of a file is needed that ends in .{', .'.join(FORMATS)}")
    if out.is_dir() or not out.parent.is_dir():
        what = f"{shown(out)} is a folder" if out.is_dir() else f"there is no folder {shown(out.parent)}"
        raise Mistake(f"--out: {what}")
    check_folder(out.parent)
    return audio_format


def _recording(file: Path, voice: str | None, model: str | None) -> bytes:
    """The bytes of a recording. Raises `Mistake`."""
    for name, given in (("--voice", voice), ("--model", model)):
        if given is not None:
            raise Mistake(f"{name}: {given!r}: does not go with --ref-audio, which the server's own model imitates")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Mistake(f"--ref-audio: {shown(file)}: {error.strerror}") from None
