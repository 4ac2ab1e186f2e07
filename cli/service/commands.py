"""`atelier service …` and `atelier upgrade`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import settings
from cli import service
from cli.environment import ROOT
from cli.outputs import ResultAsJson
from cli.service.definition import ServiceError
from cli.service.upgrade import Upgrade
from cli.up import StartError, fail, install_environments

app = typer.Typer(help="Atelier as a service of this machine (systemd, or launchd on a Mac).", no_args_is_help=True)
System = Annotated[bool, typer.Option("--system", help="The system's service rather than your own.")]


@app.command()
def install(
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    system: System = False,
    as_json: ResultAsJson = False,
) -> None:
    """Install the service and start it, now and with the machine."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        if not config.exists():
            raise ServiceError(f"there is no {config}")
        try:
            # before anything is written; and the system's account may not install packages of engines
            install_environments(settings.load(config, {**os.environ, **chosen.environment()}))
        except (settings.ConfigurationError, StartError) as error:
            raise ServiceError(str(error)) from None
        left = chosen.install(config)
    if as_json:
        _print_json(definition=str(chosen.path), variables=str(chosen.variables), left_to_do=left or None)
        return
    print(f"installed and started: {chosen.path}\nits variables: {chosen.variables}")
    if left:
        print(left, file=sys.stderr)


@app.command()
def uninstall(system: System = False, as_json: ResultAsJson = False) -> None:
    """Stop the service and remove it; pictures, keys and variables stay."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        chosen.uninstall()
    if as_json:
        _print_json(removed=str(chosen.path), left=str(chosen.variables))
    else:
        print(f"removed: {chosen.path}\nleft: {chosen.variables}, and ATELIER_HOME")


@app.command()
def start(system: System = False, as_json: ResultAsJson = False) -> None:
    """Start the service and wait until it is ready."""
    _change(lambda chosen: chosen.start(), system=system, as_json=as_json)


@app.command()
def stop(system: System = False, as_json: ResultAsJson = False) -> None:
    """Stop the service and wait until it has ended."""
    _change(lambda chosen: chosen.stop(), system=system, as_json=as_json)


@app.command()
def restart(system: System = False, as_json: ResultAsJson = False) -> None:
    """Stop the service, start it and wait until it is ready."""
    _change(lambda chosen: chosen.restart(), system=system, as_json=as_json)


@app.command()
def status(system: System = False, as_json: ResultAsJson = False) -> None:
    """Say what the service does; the exit status is 3 when it does not run."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        state = chosen.state()
    if as_json:
        _print_json(**asdict(state))
    elif not state.installed:
        print(f"not installed ({chosen.path})")
    else:
        facts = [
            state.active,
            f"since {state.since}" if state.since else "",
            f"process {state.pid}" if state.pid else "",
            f"{state.memory_bytes / 2**30:.1f} GiB" if state.memory_bytes else "",
            f"restarted {state.restarts} times" if state.restarts else "",
            "" if state.enabled else "does not start with the machine",
        ]
        print(", ".join(filter(None, facts)))
    if state.active != "active":
        raise typer.Exit(3)


@app.command()
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last ones.")] = 100,
    system: System = False,
) -> None:
    """Show the service's log."""
    with in_one_line():
        service.here("system" if system else "user").logs(follow=follow, lines=lines)


def upgrade(
    to: Annotated[str | None, typer.Option(help="A tag, branch or commit; else what upstream has.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Return to the version before, with its databases.")] = False,
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    as_json: ResultAsJson = False,
) -> None:
    """Bring the repository, its packages and the installed service to another version, or back."""
    with in_one_line():
        running = service.installed()
        # with --json what it does goes to stderr, beside the result
        upgrade = Upgrade(running, say=partial(print, file=sys.stderr if as_json else sys.stdout))
        before = upgrade.commit()
        if back:
            upgrade.back()
            if as_json:
                _print_json(before=before, now=upgrade.commit())
            return
        try:
            configured = settings.load(config, {**os.environ, **(running.environment() if running else {})})
        except settings.ConfigurationError as error:
            raise ServiceError(str(error)) from None
        databases = [configured.search.database_in(configured.folder)]
        upgrade.forward(config, configured.folder, databases, to, configured.environments)
        if as_json:
            _print_json(before=before, now=upgrade.commit())


def _change(what: Callable[[service.Service], None], *, system: bool, as_json: bool) -> None:
    """Do something with the service; as JSON its state afterwards."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        what(chosen)
        if as_json:
            _print_json(**asdict(chosen.state()))


def _print_json(**result: object) -> None:
    print(json.dumps(result))


@contextmanager
def in_one_line() -> Iterator[None]:
    """Make one line and exit status 1 of what a service cannot do."""
    try:
        yield
    except ServiceError as error:
        fail(str(error), status=1)
