"""`atelier service …` and `atelier upgrade`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

import settings
from cli import service
from cli.environment import ROOT
from cli.service.definition import ServiceError
from cli.service.upgrade import Upgrade
from cli.up import StartError, fail, install_environments

app = typer.Typer(help="Atelier as a service of this machine (systemd, or launchd on a Mac).", no_args_is_help=True)
System = Annotated[bool, typer.Option("--system", help="The system's service rather than your own.")]


@app.command()
def install(
    config: Annotated[Path, typer.Option(help="Serve configuration file.")] = ROOT / "serve_config.yaml",
    system: System = False,
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
        print(f"installed and started: {chosen.path}\nits variables: {chosen.variables}")
    if left:
        print(left, file=sys.stderr)


@app.command()
def uninstall(system: System = False) -> None:
    """Stop the service and remove it; pictures, keys and variables stay."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        chosen.uninstall()
        print(f"removed: {chosen.path}\nleft: {chosen.variables}, and ATELIER_HOME")


@app.command()
def start(system: System = False) -> None:
    """Start the service and wait until it is ready."""
    with in_one_line():
        service.here("system" if system else "user").start()


@app.command()
def stop(system: System = False) -> None:
    """Stop the service and wait until it has ended."""
    with in_one_line():
        service.here("system" if system else "user").stop()


@app.command()
def restart(system: System = False) -> None:
    """Stop the service, start it and wait until it is ready."""
    with in_one_line():
        service.here("system" if system else "user").restart()


@app.command()
def status(system: System = False) -> None:
    """Say what the service does; the exit status is 3 when it does not run."""
    with in_one_line():
        chosen = service.here("system" if system else "user")
        state = chosen.state()
    if not state.installed:
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
) -> None:
    """Bring the repository, its packages and the installed service to another version, or back."""
    with in_one_line():
        running = service.installed()
        upgrade = Upgrade(running)
        if back:
            upgrade.back()
            return
        try:
            configured = settings.load(config, {**os.environ, **(running.environment() if running else {})})
        except settings.ConfigurationError as error:
            raise ServiceError(str(error)) from None
        databases = [configured.search.database_in(configured.folder)]
        upgrade.forward(config, configured.folder, databases, to, configured.environments)


@contextmanager
def in_one_line() -> Iterator[None]:
    """Make one line and exit status 1 of what a service cannot do."""
    try:
        yield
    except ServiceError as error:
        fail(str(error), status=1)
