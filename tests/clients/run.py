"""Runs real clients, unmodified and each in an environment of its own, against a server: `make test-clients`.

What they send is recorded on its way, for the test that replays it, and what works becomes the table of
docs/clients.md, whose own lines are run too. Needs PyPI and npm's registry.

    python -m tests.clients.run [--write] [CLIENT …]
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cli.environment import ROOT
from deployments.ingress.requests import token_ids
from tests.clients.environments import HERE, Environment, clients, installed, pinned, program
from tests.clients.recorder import Recorded, recording
from tests.clients.snippets import PAGE, snippets
from tests.servers import start_server

RECORDED: Final = HERE / "recorded"
ABILITIES: Final = (
    "text", "picture", "stream", "structured", "tools", "responses", "draw", "edit", "speech", "embeddings", "docs",
)  # fmt: skip
"""What the names of cases begin with; `docs` are the client's lines in the page."""
README: Final = ROOT / "README.md"
_MARKS: Final = ("<!-- clients: made by make test-clients -->", "<!-- clients: end -->")
_TIKTOKEN_NAME: Final = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
"""Under which tiktoken keeps `cl100k_base`, which LangChain needs and would download."""
_OF_ANOTHER_ANSWER: Final = ("item_reference", "previous_response_id")

Results = dict[str, str | None]
"""Why a case failed, by its name; None where it did not."""


def run(client: str, url: str, folder: Path) -> tuple[Results, list[Recorded]]:
    """What works of a client against the server at `url`, and what it sent. `folder` is where its packages go."""
    environment = installed(client, folder)
    sent: list[Recorded] = []
    with recording(url, sent) as recorder:
        told = environment.run(
            [*program(client), f"{recorder}/CASE/v1"],
            OPENAI_API_KEY="none",
            TIKTOKEN_CACHE_DIR=str(_tokenizers(folder)),
        )
        lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith('{"case": ')]
        if told.returncode or not lines:
            raise RuntimeError(f"{client} did not run:\n{told.stdout[-1000:]}{told.stderr[-3000:]}")
        results = {line["case"]: line["failure"] for line in lines}
        if any(results.values()):
            print(told.stderr[-6000:], file=sys.stderr)  # noqa: T201
        if client in snippets():
            results["docs"] = _run_lines(client, environment, f"{recorder}/docs/v1", sent)
    return results, [each for each in sent if is_kept(each)]


def _run_lines(client: str, environment: Environment, base_url: str, sent: Sequence[Recorded]) -> str | None:
    """Run a client's lines of the page; they fail where they end badly, or ask the server nothing that it answers."""
    lines = snippets()[client]
    (environment.folder / lines.command[-1]).write_text(lines.pointed_at(base_url), encoding="utf-8")
    told = environment.run(lines.command)
    answers = [each["status"] for each in sent if each["case"] == "docs"]
    if told.returncode or 200 not in answers:
        return f"status {told.returncode}, answers {answers}: {told.stderr[-300:]}"
    return None


def is_kept(request: Recorded) -> bool:
    """Whether a request can be replayed: it asks for something, and refers to no answer of the recorded server."""
    said = json.dumps(request.get("body", ""))
    return (
        (request["method"], request["status"]) == ("POST", 200)
        and request["case"] != "docs"
        and not any(f'"{each}": "' in said or f'"{each}"}}' in said for each in _OF_ANOTHER_ANSWER)
    )


def _tokenizers(folder: Path) -> Path:
    """Where tiktoken finds what it would download."""
    cache = folder / "tiktoken"
    cache.mkdir(exist_ok=True)
    lines = (f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(token_ids._tokens()))
    (cache / _TIKTOKEN_NAME).write_text("".join(lines), encoding="ascii")
    return cache


def row(client: str, results: Results) -> str:
    """A line of the table."""

    def cell(ability: str) -> str:
        cases = [failure for case, failure in results.items() if case.split("_")[0] == ability]
        return "—" if not cases else "no" if any(cases) else "yes"

    return f"| {pinned(client)} | {' | '.join(cell(ability) for ability in ABILITIES)} |"


def rows() -> dict[str, str]:
    """The lines of the table as the page has them, by the package's name."""
    lines = PAGE.read_text(encoding="utf-8").partition(_MARKS[0])[2].partition(_MARKS[1])[0].splitlines()[3:]
    return {line.split("|")[1].rsplit(maxsplit=1)[0].strip(): line for line in lines}


def write_table(made: Mapping[str, str]) -> None:
    """Put new rows into docs/clients.md, and the short form of all into the README."""
    names = {pinned(client).rsplit(maxsplit=1)[0] for client in clients()}
    merged = {name: line for name, line in {**rows(), **made}.items() if name in names}
    table = {name: merged[name] for name in sorted(merged, key=str.lower)}
    head = [f"| client | {' | '.join(ABILITIES)} |", f"|---{'|---' * len(ABILITIES)}|"]
    put(PAGE, _MARKS, [*head, *table.values()])
    put(README, _MARKS, [short_form(table)])


def short_form(names: Iterable[str]) -> str:
    """The clients in one line."""
    return ", ".join(f"`{name}`" for name in names)


def put(page: Path, marks: tuple[str, str], lines: Iterable[str]) -> None:
    """Write lines between two marks of a page."""
    text = page.read_text(encoding="utf-8")
    made = "\n".join([marks[0], *lines, marks[1]])
    page.write_text(re.sub(f"{marks[0]}.*{marks[1]}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8")


def main() -> int:
    """Run the clients that are named, or all; 1 where something fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", default=clients())
    parser.add_argument("--write", action="store_true", help="keep what was sent, and write the table")
    asked = parser.parse_args()
    failed = False
    made = {}
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        server = start_server(Path(folder) / "home")
        try:
            server.wait_until_ready()
            for client in asked.clients:
                results, sent = run(client, server.url, Path(folder))
                line = made[pinned(client).rsplit(maxsplit=1)[0]] = row(client, results)
                print(line, flush=True)  # noqa: T201
                for case, failure in results.items():
                    if failure is not None:
                        failed = True
                        print(f"  {case}: {failure}", flush=True)  # noqa: T201
                if asked.write:
                    keep(client, sent)
        finally:
            server.stop()
    if asked.write:
        write_table(made)
    return int(failed)


def keep(client: str, sent: Sequence[Mapping[str, Any]]) -> None:
    """Write what a client sent, for the test that replays it."""
    text = json.dumps(sent, ensure_ascii=False, indent=1)
    (RECORDED / f"{client}.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
