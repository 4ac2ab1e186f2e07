"""`atelier search`: many pictures into a project of a running server, found again, out of it, and into another."""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cli.exports import IMPORTED, Export, ExportTally, pictures_of, replaced
from cli.home import home_folder
from cli.journal import Journal
from cli.outputs import ResultAsJson
from cli.progress import progress
from cli.project import Hit, Project
from cli.server import PATIENCE_SECONDS, CommandError, Mistake, Server, api_key, server_url
from cli.up import fail
from cli.uploads import SUFFIXES, Picture, Tally, Uploader, pictures_in, shown

INTERRUPTED = 130

app = typer.Typer(
    help="Put pictures into a running server, find them, get them out. ATELIER_API_KEY is the key that is sent.",
    no_args_is_help=True,
)

ProjectName = Annotated[str, typer.Option("--project", "-p", help="The project.")]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", envvar="ATELIER_URL", help="Its URL; else that of HOST and PORT.", show_default=False),
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=64, help="Pictures on their way at a time.")]
Patience = Annotated[float, typer.Option(min=0, help="Seconds that a server which is busy or away is waited for.")]


@app.command()
def add(
    project: ProjectName,
    places: Annotated[list[Path], typer.Argument(metavar="FOLDER|FILE...", help="What to upload.")],
    server: ServerUrl = None,
    jobs: Jobs = 8,
    recursive: Annotated[bool, typer.Option(help="Folders within folders too.")] = True,
    as_json: ResultAsJson = False,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Upload pictures; the same command again goes on where it was stopped, and skips what has been sent."""
    tally = Tally()

    def unreadable(error: OSError) -> None:
        tally.refuse(error.filename, error.strerror or str(error))

    async def work() -> None:
        async with _project(server, project, patience, jobs) as there:
            with closing(_journal(there)) as journal:
                uploader = Uploader(there, journal, tally)
                await uploader.begin()
                with progress("adding", tally.total) as advance:
                    pictures = pictures_in(places, recursive=recursive, unreadable=unreadable)
                    await uploader.send(pictures, jobs, advance, lambda *_: None)

    with told_in_one_line(tally):
        for place in places:
            if not place.exists():
                raise Mistake(f"there is no file or folder {shown(place)}")
        tally.total = sum(1 for _ in pictures_in(places, recursive=recursive, unreadable=lambda _: None))
        if not tally.total:
            raise Mistake(f"there are no pictures in {', '.join(map(shown, places))} ({' '.join(SUFFIXES)})")
        asyncio.run(work())
    _end(tally, as_json=as_json)


@app.command()
def query(
    project: ProjectName,
    words: Annotated[list[str] | None, typer.Argument(help="What the pictures show.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture that they are like.", show_default=False)] = None,
    image_id: Annotated[str | None, typer.Option("--id", help="One of the project that they are like.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 5,
    min_score: Annotated[float | None, typer.Option(help="None below this cosine, -1 to 1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
    server: ServerUrl = None,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Find pictures by words, by a picture, or by the id of one that is there; the best come first."""

    async def work(wanted: dict[str, Any]) -> list[Hit]:
        async with _project(server, project, patience) as there:
            return await there.search(**wanted)

    with told_in_one_line():
        hits = asyncio.run(work(_wanted(words, image, image_id, min_score) | {"limit": limit}))
    if as_json:
        for hit in hits:
            print(json.dumps(hit.model_dump(), ensure_ascii=False))
        return
    table = Table("score", "id", "filename", "size", box=None, pad_edge=False)
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.id, Text(shown(hit.original_filename)), decimal(hit.size_bytes))
    print_table(table)


@app.command()
def export(
    project: ProjectName,
    target: Annotated[Path, typer.Argument(help="The folder to write, new or of an earlier export.")],
    server: ServerUrl = None,
    jobs: Jobs = 8,
    as_json: ResultAsJson = False,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Download a project: `images/` and, once it is complete, `manifest.jsonl` with a record on each line."""
    tally = ExportTally()

    async def work() -> None:
        async with _project(server, project, patience, jobs) as there:
            exporter = Export(there, target, tally)
            tally.total = await there.count()
            with progress("exporting", tally.total) as advance:
                await exporter.fetch(jobs, advance)

    with told_in_one_line(tally):
        asyncio.run(work())
    _end(tally, as_json=as_json)


@app.command("import")
def import_(
    project: ProjectName,
    source: Annotated[Path, typer.Argument(help="The folder of an export.")],
    server: ServerUrl = None,
    jobs: Jobs = 8,
    as_json: ResultAsJson = False,
    patience: Patience = PATIENCE_SECONDS,
) -> None:
    """Upload an export; `imported.jsonl` beside its manifest then says which new id each picture got."""
    tally = Tally()

    async def work() -> None:
        async with _project(server, project, patience, jobs) as there:
            with closing(_journal(there)) as journal, replaced(source / IMPORTED) as imported:

                def arrived(picture: Picture, new_id: str) -> None:
                    line = {"id": picture.old_id, "project_id": project, "new_id": new_id}
                    imported.write(json.dumps(line) + "\n")

                uploader = Uploader(there, journal, tally)
                await uploader.begin()
                with progress("importing", tally.total) as advance:
                    await uploader.send(pictures_of(source), jobs, advance, arrived)

    with told_in_one_line(tally):
        tally.total = sum(1 for _ in pictures_of(source))
        asyncio.run(work())
    _end(tally, as_json=as_json)


@asynccontextmanager
async def _project(url: str | None, name: str, patience: float, jobs: int = 1) -> AsyncIterator[Project]:
    async with Server(server_url(url), api_key(), patience=patience, jobs=jobs) as server:
        yield Project(server, name)


def _journal(project: Project) -> Journal:
    return Journal(home_folder() / "cli", project.server.url, project.name)


def _wanted(
    words: list[str] | None, image: Path | None, image_id: str | None, min_score: float | None
) -> dict[str, Any]:
    """The body of a search. Raises `Mistake` for what no server has to be asked about."""
    if sum((bool(words), image is not None, image_id is not None)) != 1:
        raise Mistake("what to look for: give words, or --image, or --id")
    if min_score is not None and not -1 <= min_score <= 1:
        raise Mistake(f"--min-score: {min_score}: a number from -1 to 1 is needed")
    threshold = {} if min_score is None else {"min_score": min_score}
    if words:
        return {"query": " ".join(words)} | threshold
    if image is None:
        return {"image_id": image_id} | threshold
    try:
        content = base64.b64encode(image.read_bytes()).decode()
    except OSError as error:
        raise Mistake(f"--image: {shown(image)}: {error.strerror}") from None
    # The server looks at the bytes, whatever type is named.
    return {"image": f"data:image/png;base64,{content}"} | threshold


@contextmanager
def told_in_one_line(tally: Tally | ExportTally | None = None) -> Iterator[None]:
    """Make one line and an exit status of whatever ends a command early, and say how far it came."""
    try:
        yield
    except KeyboardInterrupt:
        message, status = "stopped", INTERRUPTED
    except CommandError as error:
        message, status = str(error), error.status
    except BrokenPipeError:  # nobody reads what it prints any more
        raise typer.Exit(1) from None
    except OSError as error:
        message, status = (
            f"{shown(error.filename)}: {error.strerror}" if error.filename else error.strerror or str(error),
            1,
        )
    except sqlite3.Error as error:
        message, status = f"the journal of uploads: {error}", 1
    else:
        return
    if tally is not None and tally.done:
        message += f"; {tally}; the same command goes on from there"
    fail(message, status=status)


def print_table(table: Table) -> None:
    """Print it as wide as the terminal; where nobody looks, lines are not broken."""
    Console(width=None if sys.stdout.isatty() else 400).print(table)


def _end(tally: Tally | ExportTally, *, as_json: bool) -> None:
    """Say what became of the pictures, and end as `end` does."""
    if not as_json:
        end(str(tally), tally.failures)
        return
    print(json.dumps(asdict(tally), ensure_ascii=False))
    if tally.failures:
        raise typer.Exit(1)


def end(summary: str, failures: list[str]) -> None:
    """Print the failures and the summary; with failures the exit status is 1."""
    for failure in failures:
        print(failure, file=sys.stderr)
    print(summary)
    if failures:
        raise typer.Exit(1)
