"""`atelier pull`: the checkpoints of a configuration from the hub, before the first request asks for them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

import settings
from cli.environment import MISTAKE, ROOT
from cli.progress import LINE_SECONDS
from cli.up import fail
from models.checkpoints import HubSource, Note, fetch
from models.errors import CheckpointError

INTERRUPTED = 130
_NO_BAR = b"\r\x1b[2K\x1b[?25h"
"""What clears a terminal's line and shows its cursor."""


def pull(
    aliases: Annotated[list[str] | None, typer.Argument(help="Their models; else all of them.")] = None,
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each checkpoint.")] = False,
) -> None:
    """Download the checkpoints of a configuration; the same command again goes on where it was stopped.

    HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE count as they do for the server.
    """
    try:
        configured = settings.load(config, os.environ)
    except settings.ConfigurationError as error:
        fail(str(error), status=MISTAKE)
    for alias in aliases or ():
        if alias not in configured.models:
            fail(f"{config}: there is no model {alias!r}; there are: {', '.join(configured.models)}", status=MISTAKE)
    wanted = wanted_sources(configured, aliases)
    for alias in aliases or ():
        if not any(alias in names for names in wanted.values()):
            print(f"{alias}: {configured.models[alias].checkpoint} is not of the hub; nothing to download")
    if not wanted and not aliases and not as_json:
        print(f"{config}: no checkpoint is of the hub; nothing to download")
    with _left_at_once():
        failed = [source for source, names in wanted.items() if not _pulled(source, names, as_json=as_json)]
    if failed:
        raise typer.Exit(1)


def wanted_sources(configured: settings.Settings, aliases: list[str] | None = None) -> dict[HubSource, tuple[str, ...]]:
    """What the models take from the hub, each with the aliases that it is for; else of all that are switched on."""
    from models.catalog import hub_sources  # slow

    found: dict[HubSource, tuple[str, ...]] = {}
    for alias in aliases or filter(configured.is_deployed, configured.models):
        for source in hub_sources(configured.models[alias]):
            found[source] = (*(name for name in found.get(source, ()) if name != alias), alias)
    return found


def _pulled(source: HubSource, aliases: tuple[str, ...], *, as_json: bool) -> bool:
    """Whether a checkpoint is on disk now; says so either way."""
    there, mistake = 0, None
    with _shown(source.name) as show:

        def note(done: int, total: int) -> None:
            nonlocal there
            there = total
            show(done, total)

        try:
            fetch(source, note)
        except CheckpointError as error:
            mistake = str(error)
    names = ", ".join(aliases)
    if as_json:
        line = {"aliases": aliases, "checkpoint": source.name, "bytes": there, "is_here": mistake is None}
        print(json.dumps(line | {"error": mistake}), flush=True)
    elif mistake is None:
        print(f"{names}: {source.name} is here, {decimal(there)}", flush=True)
    if mistake is not None:
        print(f"atelier: {names}: {mistake}", file=sys.stderr, flush=True)
    return mistake is None


@contextmanager
def _shown(name: str) -> Iterator[Note]:
    """A bar on a terminal, a line now and then elsewhere."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # of each file; ours is of all together
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(name: str) -> Note:
    said = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal said
        if done < total and time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            print(f"{name}: {decimal(done)} of {decimal(total)}", file=sys.stderr, flush=True)

    return note


@contextmanager
def _left_at_once() -> Iterator[None]:
    """While Ctrl-C and SIGTERM end the process in the middle of files, which the hub's client goes on with next time.

    An exception would have to wait until its threads have ended the files that they are at.
    """

    def leave(_: int, __: FrameType | None) -> NoReturn:
        # past rich, which would draw the bar once more below
        bar = _NO_BAR if sys.stderr.isatty() else b""
        os.write(2, bar + b"atelier: stopped; the same command goes on from here\n")
        os._exit(INTERRUPTED)

    before = {each: signal.signal(each, leave) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
