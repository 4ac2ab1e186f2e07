"""Runs the parts in turn, each in a process of its own: one that fails, hangs or is killed leaves the others."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.gpu.parts import CARD, Part
from bench.gpu.report import Message, PartReport, Problem, Report
from bench.gpu.work import Work
from models.devices import first_line

_ENDED = "ended"
"""Said by a part that has come to its end, whatever it found."""
_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_SLOWER = 5
"""A tiny run may take so many times as long: what else the machine does is not known."""
_PRELOADED = ["bench.gpu.libraries"]
"""Imported once for all parts of a tiny run. On a GPU each part imports for itself: a library may use CUDA meanwhile,
and a process that has used it cannot be copied."""


def run(parts: Sequence[Part], folder: Path, *, tiny: bool, seconds: float, note: Callable[[str], None]) -> Report:
    """Run the parts within so many seconds; the files are written into `folder`. `note` gets a line for each part."""
    reports = [PartReport(part.name, part.title) for part in parts]
    report = Report(folder, tiny, reports)
    deadline = time.monotonic() + seconds
    machine = PartReport(CARD.name, CARD.title)
    _run_part(CARD, machine, report, deadline, note)
    for part, own in zip(parts, reports, strict=True):
        if machine.state == "failed":
            own.fail("; ".join(machine.problems))
            note(f"{part.name}: {own.problems[0]}")
        elif deadline - time.monotonic() < part.least_seconds(tiny):
            own.fail("not begun: no time is left")
            note(f"{part.name}: {own.problems[0]}")
        else:
            _run_part(part, own, report, deadline, note)
    report.save()
    return report


def _run_part(part: Part, own: PartReport, report: Report, deadline: float, note: Callable[[str], None]) -> None:
    own.state = "running"
    begun = time.monotonic()
    until = min(deadline, begun + part.seconds * (_SLOWER if report.tiny else 1))
    place = roomy(0 if report.tiny else part.bytes)
    scratch = Path(tempfile.mkdtemp(prefix=f"atelier-{part.name}-", dir=place))
    context: Any = multiprocessing.get_context("spawn")
    if report.tiny and not part.environment:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    log = report.folder / f"{part.name}.log"
    process = context.Process(target=_work, args=(part, report.tiny, scratch, until - time.monotonic(), theirs, log))
    try:
        process.start()
        theirs.close()
        ending = _listen(ours, until, lambda message: report.take(own, message))
        _end(process, wait=ending == _ENDED)
        if ending == "late":
            own.problems.append(f"stopped: it was not done after {time.monotonic() - begun:.0f} s")
        elif ending != _ENDED:
            own.problems.append(f"its process ended {_how(process.exitcode)}; {log.name} has its last words")
    finally:
        _end(process, wait=False)
        shutil.rmtree(scratch, ignore_errors=True)
    own.seconds = round(time.monotonic() - begun, 1)
    own.state = "failed" if own.problems else "done"
    report.save()
    note(f"{part.name}: {own.state} in {own.seconds:.0f} s" + "".join(f"\n  {line}" for line in own.problems))


def _listen(connection: Connection, until: float, take: Callable[[Message], None]) -> str:
    """Take what a part says until it ends: `_ENDED` as it should, `late`, or `gone`."""
    while True:
        if not connection.poll(max(0.0, until - time.monotonic())):
            return "late"
        try:
            message = connection.recv()
        except EOFError:
            return "gone"
        if message == _ENDED:
            return _ENDED
        take(message)


def _end(process: BaseProcess, *, wait: bool) -> None:
    """End a part and all that it has started, which is in its group of processes."""
    if process.pid is None:
        return
    if wait:
        process.join(_GRACE)
    with suppress(ProcessLookupError):  # the group has ended
        os.killpg(process.pid, signal.SIGTERM)
        process.join(_GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where it has not come so far as to have a group
    process.join(_GRACE)


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name
        return f"by {name}" + (" (main memory may have run out)" if name == "SIGKILL" else "")
    return f"with status {status}"


def _work(part: Part, tiny: bool, folder: Path, seconds: float, connection: Connection, log: Path) -> None:
    """A part's own process."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it has started is ended
    with suppress(OSError):  # where memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    work = Work(tiny, folder, time.monotonic() + 0.95 * seconds, connection.send)
    try:
        if part.environment:
            sys.path.insert(0, str(_packages_of(part.environment)))
        module, function = part.runs.split(":")
        getattr(import_module(module), function)(work, *part.arguments)
    except Exception as error:  # noqa: BLE001 - what a part has not caught itself ends it alone
        connection.send(Problem(f"{type(error).__name__}: {first_line(error)}"))
    connection.send(_ENDED)


def _packages_of(environment: str) -> Path:
    """The folder of packages that come before the server's own; `deploy/environment.sh NAME` installs it.

    Raises:
        FileNotFoundError: it is not there.
    """
    folder = Path(os.environ.get("ATELIER_ENVIRONMENTS") or Path(sys.prefix) / "environments") / environment
    if not folder.is_dir():
        raise FileNotFoundError(f"the packages of {environment} are not in {folder}")
    return folder


def roomy(size: int) -> Path:
    """Where checkpoints of so many bytes are written: in memory where they fit twice (read from there, they are in
    memory again), else on disk."""
    shared = Path("/dev/shm")
    if size and shared.is_dir() and shutil.disk_usage(shared).free > 1.1 * size and _free_memory() > 2.3 * size:
        return shared
    return Path(tempfile.gettempdir())


def _free_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
