"""`atelier keys`: the keys in the server's file or database, made, listed and revoked, whether it runs or not."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

import settings
from cli.environment import MISTAKE, ROOT
from cli.outputs import ResultAsJson, write_line
from cli.search import print_table
from cli.server import CommandError
from cli.up import fail
from stores.api_key_table import move, open_api_keys, open_table
from stores.api_keys import KEY_NAME, ApiKeyFile, ApiKeys, Limits
from stores.errors import NameTaken, NotFound, StoreError

app = typer.Typer(
    help="Who may call: keys in ATELIER_HOME/keys.json, or with several ingress replicas in PostgreSQL. A server that "
    "runs knows of a change within a second.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="What you call it: who or what it is for.")]
Config = Annotated[Path, typer.Option(help="Serve configuration file of the server.")]
DEFAULT_CONFIG = ROOT / "serve_config.yaml"


@app.command()
def add(
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="May also load, evict, and delete what others made.")] = False,
    rate: Annotated[str | None, typer.Option(help="Requests in a time: 60/minute.", show_default=False)] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once.", show_default=False)] = None,
    config: Config = DEFAULT_CONFIG,
    as_json: ResultAsJson = False,
) -> None:
    """Make a key and print it: this once, since only its digest is kept. Without limits it has the server's."""
    if not re.fullmatch(KEY_NAME, name):
        fail(
            f"NAME: {name!r}: 1 to 64 letters, digits and . _ @ - are needed, the first a letter or digit",
            status=MISTAKE,
        )
    try:
        limits = Limits(rate=rate, concurrency=concurrency)
    except ValidationError as error:
        fail(f"--rate: {rate!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}", status=MISTAKE)
    with _told_in_one_line():
        keys = _keys(config)
        was_there = keys.read() is not None
        key = keys.add(name, limits, admin=admin)
    made = {"name": name, "key": key, "admin": admin, "file": keys.place}
    try:
        write_line(json.dumps(made) if as_json else key)
    except CommandError as error:
        with _told_in_one_line():
            keys.revoke(name)  # nobody has seen it
        fail(f"{error}; the key is revoked", status=error.status)
    if not was_there:
        print(
            f"{keys.place}: this is the first key, and from now on the server lets in nobody without a key "
            "(docs/security.md)",
            file=sys.stderr,
        )


@app.command(name="list")
def list_keys(config: Config = DEFAULT_CONFIG, as_json: ResultAsJson = False) -> None:
    """List the keys that were made; those of the environment and the configuration are not among them."""
    with _told_in_one_line():
        opened = _keys(config)
        keys = opened.read()
    if as_json:
        listed = [each.model_dump(mode="json", exclude={"sha256"}) for each in keys or ()]
        print(json.dumps({"file": opened.place, "exists": keys is not None, "keys": listed}))
        return
    if not keys:
        is_missing = isinstance(opened, ApiKeyFile) and keys is None
        print(f"there is no {opened.place}" if is_missing else f"{opened.place} has no keys", file=sys.stderr)
        return
    table = Table("name", "scope", "rate", "concurrency", "made", box=None, pad_edge=False)
    for key in keys:
        made = datetime.fromtimestamp(key.created_at).astimezone().isoformat(" ", "minutes")
        of_server = "the server's"
        table.add_row(
            key.name,
            "admin" if key.admin else "user",
            key.limits.rate or of_server,
            str(key.limits.concurrency or of_server),
            made,
        )
    print_table(table)


@app.command()
def revoke(name: Name, config: Config = DEFAULT_CONFIG, as_json: ResultAsJson = False) -> None:
    """Make a key worthless."""
    with _told_in_one_line():
        keys = _keys(config)
        left = keys.revoke(name)
    if as_json:
        print(json.dumps({"name": name, "left": left}))
    print(f"{name} is revoked", file=sys.stderr)
    if not left:
        print(f"{keys.place} has no keys any more; the server stays closed (docs/security.md)", file=sys.stderr)


@app.command(name="move")
def move_keys(config: Config = DEFAULT_CONFIG, as_json: ResultAsJson = False) -> None:
    """Move the keys of the file into PostgreSQL, where several ingress replicas have theirs; the file is renamed."""
    with _told_in_one_line():
        configured = settings.load(config, os.environ)
        url = configured.keys_database_url
        if url is None:
            raise settings.ConfigurationError(
                "ingress.replicas: with one, or with ATELIER_KEYS_FILE, keys stay in their file; allowed: 2 or more"
            )
        moved = move(configured.keys_path, open_table(url))
    if as_json:
        print(json.dumps({"file": str(configured.keys_path), "moved": moved}))
    print(f"{moved} keys moved; the file is {configured.keys_path.name}.moved now", file=sys.stderr)


def _keys(config: Path) -> ApiKeys:
    configured = settings.load(config, os.environ)
    return open_api_keys(configured.keys_path, configured.keys_database_url)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Make one line and an exit status of what ends a command."""
    try:
        yield
    except (settings.ConfigurationError, NameTaken, NotFound) as error:
        fail(str(error), status=MISTAKE)
    except StoreError as error:
        fail(str(error), status=1)
