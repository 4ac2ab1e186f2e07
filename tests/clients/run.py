"""Runs real clients, unmodified and each in an environment of its own, against a server: `make test-clients`.

What they send is recorded on its way, for the test that replays it, and what works becomes the table of
docs/clients.md. Needs PyPI.

    python -m tests.clients.run [--write] [CLIENT …]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx

from cli.environment import ROOT
from tests.servers import start_server

HERE: Final = Path(__file__).parent
RECORDED: Final = HERE / "recorded"
TABLE: Final = ROOT / "docs" / "clients.md"
ABILITIES: Final = ("text", "picture", "stream", "structured", "tools")
MORE: Final[Mapping[str, str]] = {"function_calling": "structured", "native": "structured", "strict_tools": "tools"}
"""Cases beside the usual ones, and the ability that they belong to."""
_MARKS: Final = ("<!-- clients: made by make test-clients -->", "<!-- clients: end -->")
_SECONDS: Final = 600

Results = dict[str, str | None]
"""Why a case failed, by its name; None where it did not."""


def clients() -> list[str]:
    """Every client that has a program."""
    return sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))


@contextmanager
def recording(upstream: str, requests: list[dict[str, Any]]) -> Iterator[str]:
    """A server that passes everything on, and notes what was asked; its URL. Paths begin with the name of the case."""

    class Recorder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            case, _, path = self.path.removeprefix("/").partition("/")
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            requests.append({"case": case, "path": f"/{path}", "body": json.loads(body)})
            own = ("host", "content-length", "connection", "accept-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
            answer = httpx.post(f"{upstream}/{path}", content=body, headers=headers, timeout=_SECONDS)
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers.get("content-type", ""))
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def run(client: str, url: str, folder: Path) -> tuple[Results, list[dict[str, Any]]]:
    """What works of a client against the server at `url`, and what it sent. `folder` is where its packages go."""
    uv, python = ROOT / ".venv" / "bin" / "uv", folder / client / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder / client], check=True)
    requirements = HERE / "requirements" / f"{client}.txt"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "--requirement", requirements], check=True)
    sent: list[dict[str, Any]] = []
    with recording(url, sent) as recorder:
        told = subprocess.run(
            [python, HERE / "programs" / f"{client}.py", f"{recorder}/CASE/v1"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            env={"PATH": str(python.parent), "HOME": str(folder), "OPENAI_API_KEY": "none"},
        )
    lines = [json.loads(line) for line in told.stdout.splitlines() if line.startswith('{"case": ')]
    if told.returncode or not lines:
        raise RuntimeError(f"{client} did not run:\n{told.stderr[-3000:]}")
    return {line["case"]: line["failure"] for line in lines}, sent


def row(client: str, results: Results) -> str:
    """A line of the table."""
    pinned = (HERE / "requirements" / f"{client}.txt").read_text(encoding="utf-8").split()[0]

    def cell(ability: str) -> str:
        cases = [failure for case, failure in results.items() if MORE.get(case, case) == ability]
        return "—" if not cases else "no" if any(cases) else "yes"

    return f"| {pinned.replace('==', ' ')} | {' | '.join(cell(ability) for ability in ABILITIES)} |"


def write_table(rows: Sequence[str]) -> None:
    """Put the rows into docs/clients.md."""
    head = [f"| client | {' | '.join(ABILITIES)} |", f"|---{'|---' * len(ABILITIES)}|"]
    table = "\n".join([_MARKS[0], *head, *rows, _MARKS[1]])
    text = TABLE.read_text(encoding="utf-8")
    TABLE.write_text(re.sub(f"{_MARKS[0]}.*{_MARKS[1]}", lambda _: table, text, flags=re.DOTALL), encoding="utf-8")


def main() -> int:
    """Run the clients that are named, or all; 1 where something fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clients", nargs="*", default=clients())
    parser.add_argument("--write", action="store_true", help="keep what was sent, and write the table")
    asked = parser.parse_args()
    failed = False
    rows = []
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        server = start_server(Path(folder) / "home")
        try:
            server.wait_until_ready()
            for client in asked.clients:
                results, sent = run(client, server.url, Path(folder))
                rows.append(row(client, results))
                print(rows[-1], flush=True)  # noqa: T201
                for case, failure in results.items():
                    if failure is not None:
                        failed = True
                        print(f"  {case}: {failure}", flush=True)  # noqa: T201
                if asked.write:
                    text = json.dumps(sent, ensure_ascii=False, indent=1)
                    (RECORDED / f"{client}.json").write_text(f"{text}\n", encoding="utf-8")
        finally:
            server.stop()
    if asked.write and set(asked.clients) == set(clients()):
        write_table(rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
