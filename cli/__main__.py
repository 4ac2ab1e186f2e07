"""The `atelier` command: `.venv/bin/atelier`, or `python -m cli` in the folder of the sources."""

import signal
import sys
from typing import Annotated, Any

if sys.argv[1:2] == ["up"]:
    # Asked to stop while still importing: nothing has been started, so there is nothing to end.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))

import typer
from typer.core import TyperGroup

import cli.search_upkeep  # noqa: F401 - adds its commands to those of cli.search
from cli.chat import chat
from cli.check import check
from cli.config_init import app as config
from cli.doctor import doctor
from cli.down import down, restart
from cli.fleet import evict, load, models
from cli.keys import app as keys
from cli.listen import listen
from cli.logs import logs
from cli.look import caption, describe
from cli.outputs import write_stdout
from cli.pictures import edit, generate
from cli.pull import pull
from cli.say import say
from cli.search import app as search
from cli.search import told_in_one_line
from cli.service.commands import app as service
from cli.service.commands import upgrade
from cli.status import status
from cli.up import up
from settings.version import version


class Commands(TyperGroup):
    """All commands. What one does not deal with itself, such as a full disk, is a line and an exit status too."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for. Raises `typer.Exit`."""
        with told_in_one_line():
            try:
                return super().invoke(ctx)
            finally:
                write_stdout(b"")  # at the end Python would write what is left, and fail with a traceback


app = typer.Typer(
    name="atelier",
    help="Pictures, vision, image search and voices, self-hosted.",
    cls=Commands,
    no_args_is_help=True,
)
app.command()(up)
app.command()(down)
app.command()(restart)
app.command()(status)
app.command()(logs)
app.command()(check)
app.command()(doctor)
app.command()(pull)
app.add_typer(config, name="config")
app.command()(models)
app.command()(load)
app.command()(evict)
app.command()(generate)
app.command()(edit)
app.command()(caption)
app.command()(describe)
app.command()(chat)
app.command()(say)
app.command()(listen)
app.add_typer(search, name="search")
app.add_typer(keys, name="keys")
app.add_typer(service, name="service")
app.command()(upgrade)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"atelier {version()}")
        raise typer.Exit


@app.callback()
def atelier(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which, and end.")
    ] = False,
) -> None:
    """Pictures, vision, image search and voices, self-hosted."""


if __name__ == "__main__":
    app()
