"""`python -m bench.drills [NAME …]`: run the drills whose names contain one of these texts, and print their table.

As root on Linux, a minute or two each; the drills that move the clock need libfaketime (Debian's `faketime`) and a C
compiler.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import psutil

from bench.drills.faults import DRILLS, Drill, Target
from bench.drills.load import Load
from cli.environment import ROOT, free_ports

WARM_UP = 4.0
"""Seconds of load before anything happens."""
RECOVERS_WITHIN = 90.0
_HOME_MB, _TEMPORARY_MB = 200, 400
_KINDS = ("health", "picture", "question", "speech", "search", "upload")


def main() -> int:
    """Run the drills, a line of the table each; 1 when something was lost or answered wrongly, or did not recover."""
    wanted = sys.argv[1:] or [""]
    print("| what happens | failed requests | longest without a right answer (s) | well after (s) | how it ended |")
    print("|---|---|---|---:|---|", flush=True)
    bad = 0
    for drill in DRILLS:
        if any(text in drill.name for text in wanted):
            line, is_good = run(drill)
            bad += not is_good
            print(line, flush=True)
    return min(bad, 1)


def run(drill: Drill) -> tuple[str, bool]:
    """A drill's line of the table, and whether nothing was lost, answered wrongly or left behind."""
    with ExitStack() as stack:
        target, load, output = _start(stack, drill)
        load.start()
        time.sleep(WARM_UP)
        begun = time.monotonic()
        going_on = drill.fault(target)
        next(going_on)
        time.sleep(drill.seconds)
        next(going_on, None)
        over = time.monotonic()
        while not load.is_well(over) and _runs(target.process) and time.monotonic() - over < RECOVERS_WITHIN:
            time.sleep(0.1)
        well_after = time.monotonic() - over if load.is_well(over) else None
        without = {kind: load.seconds_without(kind, begun) for kind in _KINDS}
        if drill.ends:
            with suppress(psutil.TimeoutExpired):
                target.process.wait(30)
        load.stop()
        ended = _end(target.process, output)
        left = _left_behind(target)
        failures = Counter(
            f"{each.kind} {each.status if each.status != '200' else 'wrong'}"
            for each in load.outcomes
            if each.ended > begun and not each.is_right
        )
        if drill.ends:  # what comes after the end has nobody to answer it
            failures = Counter({key: n for key, n in failures.items() if "ConnectError" not in key})
        again = _start_again(target, load)
        is_good = not left and again.startswith("starts, all") and not any("wrong" in key for key in failures)
        is_good &= drill.ends or well_after is not None
        cells = [
            drill.name,
            ", ".join(f"{count} x {key}" for key, count in sorted(failures.items())) or "none",
            ""
            if drill.ends
            else ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in without.items() if seconds > 1),
            "" if drill.ends else f"{well_after:.1f}" if well_after is not None else "**never**",
            f"{ended}; {f'left: {left}; ' if left else ''}{again}",
        ]
        return "| " + " | ".join(cells) + " |", is_good


def _start(stack: ExitStack, drill: Drill) -> tuple[Target, Load, IO[str]]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
    home = stack.enter_context(_disk(folder / "home", _HOME_MB))
    temporary = stack.enter_context(_disk(folder / "tmp", _TEMPORARY_MB))
    clock = folder / "clock"
    clock.write_text("+0\n")
    (port,) = free_ports(1)
    environment = {
        "PORT": str(port), "ATELIER_HOME": str(home), "TMPDIR": str(temporary), "ATELIER_DRILL": uuid.uuid4().hex,
    }  # fmt: skip
    if drill.moves_clock:
        environment |= {
            "LD_PRELOAD": _moved_clock(folder), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
    output = stack.enter_context((folder / "output").open("w+"))
    process = _serve(environment, output)
    stack.callback(_kill_all, environment["ATELIER_DRILL"])
    target = Target(process, home, temporary, clock, environment)
    return target, Load(f"http://127.0.0.1:{port}", drill.large), output


def _serve(environment: dict[str, str], output: IO[str]) -> psutil.Process:
    command = [sys.executable, "-m", "cli", "up"]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = psutil.Popen(command, cwd=ROOT, env={**kept, **environment}, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{environment['PORT']}/readyz"
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if httpx.get(url).status_code == 200:
                return process
        if process.poll() is not None:
            break
        time.sleep(0.2)
    output.flush()
    raise RuntimeError(f"the server did not start: {Path(output.name).read_text()[-2000:]}")


def _end(process: psutil.Process, output: IO[str]) -> str:
    """How the server ended: by itself with its last line, or by SIGTERM."""
    if not _runs(process):
        lines = Path(output.name).read_text().strip().splitlines()
        return f"ended by itself ({process.wait()}): {lines[-1] if lines else 'nothing said'}"
    process.send_signal(signal.SIGTERM)
    try:
        return f"SIGTERM ended it ({process.wait(40)})"
    except psutil.TimeoutExpired:
        return "**SIGTERM did not end it**"


def _start_again(target: Target, load: Load) -> str:
    with (target.clock.parent / "again").open("w+") as output:
        try:
            process = _serve({**target.environment, "LD_PRELOAD": ""}, output)
        except RuntimeError as error:
            return f"**does not start: {error}**"
        try:
            lost = load.lost()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(40)
    count = len(load.acknowledged)
    return f"**lost: {lost}**" if lost else f"starts, all {count} acknowledged pictures are there"


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _left_behind(target: Target) -> str:
    """The server's processes that outlive it by ten seconds."""
    until = time.monotonic() + 10
    while (left := _marked(target.environment["ATELIER_DRILL"])) and time.monotonic() < until:
        time.sleep(0.2)
    return ", ".join(sorted({each.name() for each in left}))


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if each.environ().get("ATELIER_DRILL") == mark:
                found.append(each)
    return found


def _kill_all(mark: str) -> None:
    for each in _marked(mark):
        with suppress(psutil.Error):
            each.kill()


@contextmanager
def _disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _moved_clock(folder: Path) -> str:
    """The libraries that move the wall clock of a process."""
    found = next(Path("/usr/lib").rglob("libfaketimeMT.so.1"), None)
    if found is None or shutil.which("cc") is None:
        raise SystemExit("the drills of the clock need libfaketime and a C compiler: apt-get install faketime gcc")
    sleep = folder / "clock_nanosleep.so"
    source = Path(__file__).with_name("clock_nanosleep.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(sleep), str(source)], check=True)
    return f"{sleep} {found}"


if __name__ == "__main__":
    sys.exit(main())
