"""`atelier caption` and `describe`: what a running server sees in pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import BaseModel

from cli.outputs import STANDARD, AsJson, one_stdin, read_file, write_json, write_line
from cli.search import Patience, ServerUrl, told_in_one_line
from cli.search_upkeep import ask
from cli.server import PATIENCE_SECONDS, Answer
from cli.uploads import shown

_AT_ONCE: Final = 32
"""Pictures in one request, at most."""

Model = Annotated[str | None, typer.Option(help="An alias of `atelier models`; else the default.", show_default=False)]


class _Caption(BaseModel):
    caption: str


class _Captions(BaseModel):
    results: list[_Caption]


class _Analysis(BaseModel):
    result: str


def caption(
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Files; - reads one from stdin.")],
    model: Model = None,
    prompt: Annotated[str | None, typer.Option(help="What the model is asked.", show_default=False)] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Print a caption for each picture; with --json a line for every 32 of them."""
    asked = {name: value for name, value in {"model": model, "caption_prompt": prompt}.items() if value is not None}
    for start in range(0, len(pictures), _AT_ONCE):
        batch = pictures[start : start + _AT_ONCE]
        with told_in_one_line():
            one_stdin(*pictures)
            files = [("images", (_name(each), read_file(each, "PICTURES"))) for each in batch]
        content: dict[str, Any] = {"params": asked, "files": files}
        if as_json:
            answer = ask(Answer, "POST", "/api/caption-images", server, patience, **content)
            with told_in_one_line():
                write_json(answer.root)
            continue
        found = ask(_Captions, "POST", "/api/caption-images", server, patience, **content).results
        with told_in_one_line():
            for each, said in zip(batch, found, strict=True):
                write_line(said.caption if len(pictures) == 1 else f"{shown(each)}: {said.caption}")


def describe(
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="A file; - reads it from stdin.")],
    task: Annotated[
        str, typer.Option(help="caption, ocr, describe, analyze, objects, or custom with a --prompt.")
    ] = "describe",
    prompt: Annotated[str | None, typer.Option(help="Asked in place of the task's.", show_default=False)] = None,
    model: Model = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="How long, at most.", show_default=False)] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Print what a vision model says of a picture: in detail, its text, its objects, or an answer to a question."""
    with told_in_one_line():
        content = base64.b64encode(read_file(picture, "PICTURE")).decode()
    fields = {"image": content, "task": task, "prompt": prompt, "model": model, "max_tokens": max_tokens}
    body = {name: value for name, value in fields.items() if value is not None}
    if as_json:
        answer = ask(Answer, "POST", "/v1/vision/analyze", server, patience, json=body)
        with told_in_one_line():
            write_json(answer.root)
        return
    said = ask(_Analysis, "POST", "/v1/vision/analyze", server, patience, json=body)
    with told_in_one_line():
        write_line(said.result)


def _name(path: Path) -> str:
    return "stdin" if path == STANDARD else shown(path.name)
