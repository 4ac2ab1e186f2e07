"""`atelier generate` and `edit`: pictures made by a running server, into files, a pipe and the terminal."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.filesize import decimal

from cli.drawing import Drawn, Easel, draw
from cli.outputs import STANDARD, AsJson, Target, one_stdin, read_file, read_text, write_json, write_line
from cli.search import Patience, ServerUrl, told_in_one_line
from cli.server import PATIENCE_SECONDS, Answer, CommandError, Mistake, Server, api_key, server_url
from cli.uploads import shown

PictureFormat = Literal["png", "jpeg", "webp"]

_FORMATS: Final[dict[str, PictureFormat]] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}

Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What to draw; - reads it from stdin.")]
Model = Annotated[str | None, typer.Option(help="An alias of `atelier models`; else the default.", show_default=False)]
Size = Annotated[str | None, typer.Option(help="WIDTHxHEIGHT; else the model's own.", show_default=False)]
Steps = Annotated[int | None, typer.Option(help="1 to 150; else the model's own.", show_default=False)]
Seed = Annotated[int | None, typer.Option(help="The same one gives the same picture.", show_default=False)]
Count = Annotated[int, typer.Option("--n", "-n", min=1, max=10, help="How many pictures.")]
Negative = Annotated[str | None, typer.Option(help="What should not be in it.", show_default=False)]
Guidance = Annotated[float | None, typer.Option(help="How closely to follow it, 0 to 20.", show_default=False)]
Format = Annotated[
    PictureFormat | None,
    typer.Option("--format", help="Of the file; else by the name of --output, else png.", show_default=False),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The file, - for stdout; else stdout where that is no terminal, else atelier-1.png and so on.",
        show_default=False,
    ),
]
Show = Annotated[bool, typer.Option(help="Show it in a terminal that can.")]


def generate(
    prompt: Prompt,
    model: Model = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = None,
    n: Count = 1,
    negative: Negative = None,
    guidance: Guidance = None,
    picture_format: Format = None,
    output: Output = None,
    show: Show = True,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Draw pictures; Ctrl-C stops the work on the server too, and leaves nothing half-written."""
    with told_in_one_line():
        target, fields = _asked(model, size, steps, seed, n, negative, guidance, picture_format, output, as_json)
        fields["prompt"] = read_text(prompt, "PROMPT")
        where = (server_url(server), patience)
        _make(where, "/v1/images/generations", {"json": fields}, target, show=show, as_json=as_json)


def edit(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="The file to change; - reads it from stdin.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to change; - reads it from stdin.")],
    image: Annotated[list[Path] | None, typer.Option(help="Another picture to go by; repeatable.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="A PNG: only where it is transparent may change.", show_default=False)
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="0 keeps the picture, 1 replaces it.", show_default=False)
    ] = None,
    model: Model = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = None,
    n: Count = 1,
    negative: Negative = None,
    guidance: Guidance = None,
    picture_format: Format = None,
    output: Output = None,
    show: Show = True,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Change a picture by words, all of it or where a mask says; the file that is read stays as it is."""
    with told_in_one_line():
        target, fields = _asked(model, size, steps, seed, n, negative, guidance, picture_format, output, as_json)
        one_stdin(picture, prompt, mask, *(image or []))
        fields |= {"prompt": read_text(prompt, "PROMPT")} | ({} if strength is None else {"strength": strength})
        files = [("image[]", (_name(picture), read_file(picture, "PICTURE")))]
        files += [("image[]", (_name(each), read_file(each, "--image"))) for each in image or []]
        if mask is not None:
            files.append(("mask", (_name(mask), read_file(mask, "--mask"))))
        where = (server_url(server), patience)
        _make(where, "/v1/images/edits", {"data": fields, "files": files}, target, show=show, as_json=as_json)


def _asked(
    model: str | None,
    size: str | None,
    steps: int | None,
    seed: int | None,
    n: int,
    negative: str | None,
    guidance: float | None,
    picture_format: PictureFormat | None,
    output: Path | None,
    as_json: bool,
) -> tuple[Target | None, dict[str, Any]]:
    """Where the pictures go (None: they are in the answer alone), and the fields of the request. Raises `Mistake`."""
    of_name = _FORMATS.get(output.suffix.lower()) if output is not None else None
    if picture_format and of_name and picture_format != of_name:
        raise Mistake(f"--format: {picture_format}: does not go with --output {shown(output or '')}")
    kind = picture_format or of_name or "png"
    target = _target(output, kind, n, as_json=as_json)
    if target is not None:
        target.check()
    fields: dict[str, Any] = {
        "model": model,
        "size": size,
        "steps": steps,
        "seed": seed,
        "n": n,
        "negative_prompt": negative,
        "guidance": guidance,
        "output_format": kind,
        "response_format": "b64_json",
    }
    return target, {name: value for name, value in fields.items() if value is not None}


def _target(output: Path | None, kind: PictureFormat, n: int, *, as_json: bool) -> Target | None:
    if as_json:
        if output == STANDARD:
            raise Mistake("--output: -: stdout has the answer with --json; name a file")
        return None if output is None else Target(output, f".{kind}", n)
    if output is None and not sys.stdout.isatty():
        output = STANDARD
    return Target(output, f".{kind}", n)


def _name(path: Path) -> str:
    """What a file is called in a form; the server goes by its bytes."""
    return "stdin" if path == STANDARD else shown(path.name)


def _make(
    where: tuple[str, float],
    path: str,
    content: dict[str, Any],
    target: Target | None,
    *,
    show: bool,
    as_json: bool,
) -> None:
    """Have the pictures made and keep them. Raises `CommandError`."""
    url, patience = where

    def keep(drawn: Drawn) -> None:
        assert target is not None
        written = target.write(drawn.index, drawn.content)
        if not target.is_stdout:
            seed = f", seed {drawn.seed}" if drawn.seed is not None else ""
            lines.append(f"{shown(written)}: {drawn.size}{seed}, {decimal(len(drawn.content))}")

    async def watched() -> None:
        easel = Easel("drawing", shows_pictures=show)
        with easel.standing():
            async with Server(url, api_key(), patience=patience) as server, Server(url, api_key(), patience=0) as other:
                await draw(server, other, path, content, easel, keep)

    async def whole() -> dict[str, Any]:
        async with Server(url, api_key(), patience=patience) as server:
            return (await server.ask(Answer, "POST", path, **content)).root

    lines: list[str] = []
    if not as_json:
        try:
            asyncio.run(watched())
        finally:
            for line in lines:  # of what was finished, whatever ended the rest
                write_line(line)
        return
    answer = asyncio.run(whole())
    if target is not None:
        try:
            for index, each in enumerate(answer["data"]):
                target.write(index, base64.b64decode(each["b64_json"]))
        except (LookupError, TypeError, ValueError):
            raise CommandError(f"what answers at {url} is no Atelier server, or one of another version") from None
    write_json(answer)
