"""One child process and everything below it: started together, ended together."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import psutil

GRACE_SECONDS = 14.0
"""How long the child may take to end by itself after SIGTERM; then every process of the tree is killed."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Runs a command in the foreground until it ends or this process is asked to stop."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._stop = threading.Event()
        self._status: int | None = None
        self._known: set[psutil.Process] = set()

    def run(self) -> int:
        """The command's exit status; 0 when SIGTERM, SIGINT or SIGHUP ended it. No process of the tree is left."""
        adopt_orphans()
        for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(each) is not signal.SIG_IGN:  # as nohup leaves SIGHUP
                signal.signal(each, self._asked_to_stop)
        # A session of its own: Ctrl-C in the terminal reaches this process only, which then ends the others in order.
        child = subprocess.Popen(  # noqa: S603
            self._command, env=self._environment, start_new_session=True, preexec_fn=end_with_parent
        )
        while not self._has_ended(child.pid) and not self._stop.wait(0.5):
            self._remember_descendants()
        asked = self._stop.is_set()
        if asked:
            self._stop.clear()
            self._end(child.pid)
        self._kill_all()
        child.returncode = self._status  # reaped here, not by Popen
        return 0 if asked else (self._status or 0)

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _has_ended(self, pid: int) -> bool:
        """Reap every process that has ended, adopted orphans too; whether the child is among them."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == pid:
                    self._status = os.waitstatus_to_exitcode(ended[1])
        return self._status is not None

    def _end(self, pid: int) -> None:
        """Ask the child to end, and wait for it; a second signal to this process cuts the waiting short."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while not self._has_ended(pid) and time.monotonic() < deadline and not self._stop.wait(0.05):
            self._remember_descendants()

    def _remember_descendants(self) -> None:
        """Where the kernel does not hand orphans to us (macOS), they can only be found while their parents live."""
        if sys.platform != "linux":
            self._known.update(psutil.Process().children(recursive=True))

    def _kill_all(self) -> None:
        self._remember_descendants()
        while alive := [
            each
            for each in {*psutil.Process().children(recursive=True), *self._known}
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
        ]:
            for each in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            self._has_ended(0)
            time.sleep(0.02)
        self._has_ended(0)


def adopt_orphans() -> None:
    """Make this process the parent of every orphan below it, so that none escapes (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies, SIGKILL included (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
