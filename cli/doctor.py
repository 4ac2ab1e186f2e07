"""`atelier doctor`: what of this machine would keep a configuration from serving, and the command that mends it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

import settings
from cli.environment import ROOT, as_typed
from cli.examination import Finding, hub, machine, server

_COLOURS: Final = {"ok": "green", "warning": "yellow", "problem": "red"}
_CHECKS: Final[tuple[Callable[[settings.Settings, Path], list[Finding]], ...]] = (
    machine.gpu,
    machine.memory,
    machine.disks,
    machine.haproxy,
    machine.packages,
    server.address,
    server.health,
    server.keys,
    hub.access,
)


def doctor(
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each finding.")] = False,
) -> None:
    """Examine this machine, the configuration and the way to the hub; exit status 1 when there is a problem."""
    found = examined(config)
    if as_json:
        for each in found:
            print(json.dumps(each.as_json(), ensure_ascii=False))
    else:
        _print(found)
    if any(each.verdict == "problem" for each in found):
        raise typer.Exit(1)


def examined(config: Path) -> list[Finding]:
    """All that was found. Nothing is started, written or changed."""
    try:
        configured = settings.load(config, os.environ)
    except settings.ConfigurationError as error:
        return [Finding("problem", "configuration", str(error), f"{as_typed('atelier')} check {config}")]
    found = [Finding("ok", "configuration", f"{config}: {len(configured.models)} models")]
    for check in _CHECKS:
        found += check(configured, config)
    return found


def _print(found: list[Finding]) -> None:
    console = Console()
    for each in found:
        line = Text(f"{each.verdict:8}", style=_COLOURS[each.verdict]).append(f"{each.about}: {each.what}", "default")
        console.print(line, soft_wrap=True)
        if each.mend:
            console.print(Text(f"        → {each.mend}", style="bold"), soft_wrap=True)
