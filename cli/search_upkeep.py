"""`atelier search gc`, `backup`, `backups` and `restore`: the upkeep of a running server's image index, for admins."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel
from rich.filesize import decimal
from rich.table import Table

from cli.outputs import AsJson, write_json
from cli.search import Patience, ServerUrl, app, end, print_table, told_in_one_line
from cli.server import PATIENCE_SECONDS, Answer, Server, api_key, server_url

Model = TypeVar("Model", bound=BaseModel)


class _Missing(BaseModel):
    project_id: str
    id: str


class _Strays(BaseModel):
    orphans: list[str]
    deleted: int
    set_aside: int = 0
    indexes_set_aside: list[str] = []
    missing: list[_Missing]


class _Backup(BaseModel):
    key: str
    size: int
    rows: dict[str, int]
    created_at: str
    asked: bool = False


class _Backups(BaseModel):
    backups: list[_Backup]


@app.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Delete them; else they are only listed.")] = False,
    forget_set_aside: Annotated[
        bool, typer.Option("--forget-set-aside", help="Also the indexes that restores have set aside, and their files.")
    ] = False,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Find stored files that no picture has, and pictures whose file is gone (exit status 1)."""
    if forget_set_aside and not delete:
        raise typer.BadParameter("it removes indexes for good, so it needs --delete", param_hint="--forget-set-aside")
    asked = {"delete": delete} | ({"forget_set_aside": True} if forget_set_aside else {})  # older servers know only one
    if as_json:
        if print_answer("POST", "/api/admin/search/gc", server, patience, json=asked).get("missing"):
            raise typer.Exit(1)
        return
    strays = ask(_Strays, "POST", "/api/admin/search/gc", server, patience, json=asked)
    for key in strays.orphans:
        print(key)
    orphans = f"{strays.deleted} deleted" if delete else f"{len(strays.orphans)} of no picture"
    if strays.indexes_set_aside:
        kept = ", ".join(strays.indexes_set_aside)
        orphans += f", {strays.set_aside} of indexes that restores have set aside ({kept}), which stay"
    lacking = [f"{each.project_id}/{each.id}: its file is gone" for each in strays.missing]
    end(f"files: {orphans}; pictures without a file: {len(lacking)}", lacking)


@app.command()
def backup(as_json: AsJson = False, server: ServerUrl = None, patience: Patience = PATIENCE_SECONDS) -> None:
    """Back the index up now."""
    if as_json:
        print_answer("POST", "/api/admin/search/backup", server, patience)
        return
    made = ask(_Backup, "POST", "/api/admin/search/backup", server, patience)
    print(f"{made.key}: {made.rows.get('images', 0)} pictures, {decimal(made.size)}")


@app.command()
def backups(as_json: AsJson = False, server: ServerUrl = None, patience: Patience = PATIENCE_SECONDS) -> None:
    """List the backups that are kept, newest first."""
    if as_json:
        print_answer("GET", "/api/admin/search/backups", server, patience)
        return
    found = ask(_Backups, "GET", "/api/admin/search/backups", server, patience).backups
    table = Table("version", "made", "asked for", "pictures", "size", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            each.key, each.created_at, "yes" if each.asked else "", str(each.rows.get("images", 0)), decimal(each.size)
        )
    print_table(table)


@app.command()
def restore(
    version: Annotated[str | None, typer.Argument(help="One of `backups`; else the newest.")] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Go back to a backup; the index that it takes the place of is kept beside it, and all files stay."""
    if as_json:
        print_answer("POST", "/api/admin/search/restore", server, patience, json={"version": version})
        return
    done = ask(_Backup, "POST", "/api/admin/search/restore", server, patience, json={"version": version})
    print(f"restored {done.key}: {done.rows.get('images', 0)} pictures, as of {done.created_at}")


def ask(answer: type[Model], method: str, path: str, url: str | None, patience: float, **content: Any) -> Model:
    """The answer of one route, of one server; whatever goes wrong ends the command in one line."""

    async def work() -> Model:
        async with Server(server_url(url), api_key(), patience=patience) as there:
            return await there.ask(answer, method, path, **content)

    with told_in_one_line():
        return asyncio.run(work())
    raise AssertionError("told_in_one_line ends the command")


def print_answer(method: str, path: str, url: str | None, patience: float, **content: Any) -> dict[str, Any]:
    """Print the answer of one route as JSON, and return it; whatever goes wrong ends the command in one line."""
    answer = ask(Answer, method, path, url, patience, **content).root
    with told_in_one_line():
        write_json(answer)
    return answer
