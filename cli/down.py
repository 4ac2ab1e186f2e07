"""`atelier down` and `restart`: the service where one is installed, else the server that runs in ATELIER_HOME."""

from __future__ import annotations

import os
from typing import NoReturn

import psutil

from cli.home import Running, home_folder, running
from cli.outputs import ResultAsJson, write_json, write_line
from cli.search import told_in_one_line
from cli.server import CommandError
from cli.service import Service, installed
from cli.service.commands import in_one_line


def down(as_json: ResultAsJson = False) -> None:
    """Stop the server and wait until it has ended; one that does not run is no failure."""
    with told_in_one_line(), in_one_line():
        ended: dict[str, str | None]
        if (service := _active_service()) is not None:
            service.stop()
            ended = {"ended": "service"}
            line = "the service is stopped; it starts again with the machine, or by `atelier service start`"
        elif (server := running(home_folder())) is not None:
            server.end()
            ended, line = {"ended": "server", "url": server.url}, f"the server at {server.url} has ended"
        else:
            ended, line = {"ended": None, "home": str(home_folder())}, f"no server runs in {home_folder()}"
        if as_json:
            write_json(ended)
        else:
            write_line(line)


def restart() -> None:
    """Restart the service, or end the server and start it in this terminal, as it was started before."""
    with told_in_one_line(), in_one_line():
        if (service := _active_service()) is not None:
            service.restart()
            write_line("the service is restarted")
            return
        server = running(home_folder())
        if server is None:
            raise CommandError(f"no server runs in {home_folder()}; start one with `atelier up`")
        _start_again(server)


def _active_service() -> Service | None:
    """The installed service, unless it is at rest while somebody runs a server by hand."""
    service = installed()
    if service is None or (service.state().active in ("inactive", "failed") and running(home_folder()) is not None):
        return None
    return service


def _start_again(server: Running) -> NoReturn:
    """End a server, and become one with its arguments, variables and folder."""
    process = server.process
    try:
        arguments, environment, folder = process.cmdline(), process.environ(), process.cwd()
    except psutil.Error:
        raise CommandError(f"how process {process.pid} was started cannot be read; is it another user's?") from None
    server.end()
    write_line(f"the server at {server.url} has ended, and starts again here; Ctrl-C ends it")
    try:
        os.chdir(folder)
        os.execve(arguments[0], arguments, environment)  # noqa: S606
    except OSError as error:
        raise CommandError(f"cannot start {arguments[0]}: {error.strerror}; use `atelier up`") from None
