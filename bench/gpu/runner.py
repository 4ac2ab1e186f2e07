"""Runs the parts in turn, each in a process of its own: one that fails, hangs or is killed leaves the others.

With `drawn` weights all processes are begun at once, so that their imports cost the time of one; then they take turns,
one at a time. A part may have several; what needs the fewest seconds comes first, then what has waited longest.
"""

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
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.gpu.parts import CARD, Part
from bench.gpu.report import Message, PartReport, Problem, Report
from bench.gpu.work import Work
from models.devices import first_line
from models.quantizers import leave_out_unused

_ENDED = "ended"
"""Said by a part that has come to its end, whatever it found."""
_LATE, _GONE = "late", "gone"
"""What becomes of a part that is not done in time, and of one whose process is no more."""
_LAST_WORDS = 5.0
"""Seconds for a part that has its turn when no time is left: it says what is left out."""
_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_SLOWER = 5
"""A tiny run may take so many times as long: what else the machine does is not known."""
_PRELOADED = ["bench.gpu.libraries"]
"""Imported once for all parts of a tiny run. On a GPU each part imports for itself: a library may use CUDA meanwhile,
and a process that has used it cannot be copied."""


@dataclass(frozen=True)
class _Turn:
    """Said by a part that waits for its turn; the answer is the deadline of that."""

    needs: float


def run(
    parts: Sequence[Part], folder: Path, *, tiny: bool, seconds: float, note: Callable[[str], None], drawn: bool = False
) -> Report:
    """Run the parts within so many seconds; the files are written into `folder`. `note` gets a line for each part."""
    reports = [PartReport(part.name, part.title) for part in parts]
    report = Report(folder, tiny, reports)
    deadline = time.monotonic() + seconds
    machine = PartReport(CARD.name, CARD.title)
    if drawn:
        _run_in_turns(parts, machine, report, deadline, note)
        report.save()
        return report
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
    until = min(deadline, time.monotonic() + part.seconds * (_SLOWER if report.tiny else 1))
    process = _PartProcess(part, own, report, until)
    process.finish(process.listen(until), note)


def _run_in_turns(
    parts: Sequence[Part], machine: PartReport, report: Report, deadline: float, note: Callable[[str], None]
) -> None:
    """All parts, whose processes import and then wait for their turns, which begin once all do."""
    waiting: list[_PartProcess] = []
    try:
        for part, own in zip(parts, report.parts, strict=True):
            waiting.append(_PartProcess(part, own, report, deadline, drawn=True))
        _run_part(CARD, machine, report, deadline, note)
        if machine.state == "failed":
            for process in waiting:
                process.finish("; ".join(machine.problems), note)
            waiting.clear()
        needs: dict[_PartProcess, float] = {}

        def heard(process: _PartProcess, said: str | _Turn) -> None:
            waiting.remove(process)
            if isinstance(said, _Turn):
                needs[process] = said.needs
                waiting.append(process)
            else:
                process.finish(said, note)

        for process in waiting.copy():
            heard(process, process.listen(deadline))
        while waiting:
            process = min(waiting, key=needs.__getitem__)
            heard(process, process.take_turn(deadline))
    finally:
        for process in waiting:
            process.finish(_LATE, note)


class _PartProcess:
    """A part in a process of its own; it has begun. `drawn`: it works in turns only."""

    def __init__(self, part: Part, own: PartReport, report: Report, until: float, *, drawn: bool = False) -> None:
        self._part, self._own, self._report = part, own, report
        self._begun = time.monotonic()
        self._worked = 0.0
        self._log = report.folder / f"{part.name}.log"
        own.state = "running"
        place = roomy(0 if report.tiny or drawn else part.bytes)
        self._scratch = Path(tempfile.mkdtemp(prefix=f"atelier-{part.name}-", dir=place))
        context: Any = multiprocessing.get_context("spawn")
        if report.tiny and not part.environment:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_PRELOADED)
        self._ours, theirs = context.Pipe()
        arguments = (part, report.tiny, drawn, self._scratch, until - self._begun, theirs, self._log)
        self._process: BaseProcess = context.Process(target=_work, args=arguments)
        self._process.start()
        theirs.close()

    def listen(self, until: float) -> str | _Turn:
        """Take what it says until it waits for a turn or ends: `_ENDED`, `_LATE` or `_GONE`."""
        return _listen(self._ours, until, lambda message: self._report.take(self._own, message))

    def take_turn(self, deadline: float) -> str | _Turn:
        """Let it work, as long as a part may; as `listen`."""
        now = time.monotonic()
        until = min(deadline, now + self._part.seconds * (_SLOWER if self._report.tiny else 1))
        try:
            self._ours.send(now + 0.95 * (until - now))
        except OSError:
            return _GONE
        ending = self.listen(max(until, now + _LAST_WORDS))
        self._worked += time.monotonic() - now
        return ending

    def finish(self, ending: str | _Turn, note: Callable[[str], None]) -> None:
        """End it, and say how it went. `ending` is of `listen`, or the reason why it ends now."""
        own, process = self._own, self._process
        try:
            _end(process, wait=ending == _ENDED)
            if ending == _LATE:
                own.problems.append(f"stopped: it was not done after {time.monotonic() - self._begun:.0f} s")
            elif ending == _GONE:
                how = _how(process.exitcode)
                own.problems.append(f"its process ended {how}; {self._log.name} has its last words")
            elif ending != _ENDED:
                own.problems.append(str(ending))
        finally:
            _end(process, wait=False)
            shutil.rmtree(self._scratch, ignore_errors=True)
        own.seconds = round(self._worked or time.monotonic() - self._begun, 1)
        own.state = "failed" if own.problems else "done"
        self._report.save()
        note(f"{own.name}: {own.state} in {own.seconds:.0f} s" + "".join(f"\n  {line}" for line in own.problems))


def _listen(connection: Connection, until: float, take: Callable[[Message], None]) -> str | _Turn:
    """Take what a part says until it ends, as it should or otherwise, or waits."""
    while True:
        if not connection.poll(max(0.0, until - time.monotonic())):
            return _LATE
        try:
            message = connection.recv()
        except EOFError:
            return _GONE
        if message == _ENDED:
            return _ENDED
        if isinstance(message, _Turn):
            return message
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


def _work(part: Part, tiny: bool, drawn: bool, folder: Path, seconds: float, connection: Connection, log: Path) -> None:
    """A part's own process."""
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it has started is ended
    with suppress(OSError):  # where memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    work = Work(tiny, folder, time.monotonic() + 0.95 * seconds, connection.send)
    if drawn:
        work.drawn, work.next_turn = True, partial(_next_turn, connection)
        leave_out_unused((), ("scipy",))
    try:
        if part.environment:
            sys.path.insert(0, str(_packages_of(part.environment)))
        module, function = part.runs.split(":")
        getattr(import_module(module), function)(work, *part.arguments)
    except Exception as error:  # noqa: BLE001 - what a part has not caught itself ends it alone
        connection.send(Problem(f"{type(error).__name__}: {first_line(error)}"))
    connection.send(_ENDED)


def _next_turn(connection: Connection, needs: float) -> float:
    connection.send(_Turn(needs))
    return float(connection.recv())


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
