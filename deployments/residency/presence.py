"""What a model's replica tells the board of itself, and its turn to load."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import psutil
import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from deployments.residency.board import ReplicaStatus, ReplicaStatusStore
from deployments.states import ReplicaState
from models.errors import ModelError

logger = logging.getLogger("ray.serve")

_REPORT_SECONDS = 0.05
"""Changes within this time are reported together."""
_LOOK_SECONDS = 0.1
_BEAT_SECONDS = 5.0
_ROOM_SECONDS = 20.0
"""How long a load that ran out of memory waits for others to leave."""


class Presence:
    """Keeps the board's note of this replica up to date, from a thread of its own."""

    def __init__(self, alias: str, board: ReplicaStatusStore | None, replica: str = "", *, keep: bool = False) -> None:
        runtime = ray.get_runtime_context() if board else None
        self._board = board
        self._facts = ReplicaStatus(
            alias=alias,
            replica=replica,
            node=runtime.get_node_id() if runtime else "",
            pid=os.getpid(),
            state=ReplicaState.WAITING,
            since=time.time(),
            gpus=tuple(runtime.get_accelerator_ids().get("GPU", ())) if runtime else (),
            keep=keep,
        )
        self._changing = threading.Lock()
        self._reporting = threading.Lock()
        self._changed = threading.Event()
        self._ended = False
        if board:
            self._report()
            self._reporter = threading.Thread(target=self._report_loop, daemon=True, name=f"{alias}-presence")
            self._reporter.start()

    @classmethod
    def here(cls, alias: str, *, keep: bool = False) -> Presence:
        """That of the replica in which this process runs; one that tells nobody where Serve does not run."""
        try:
            context = serve.get_replica_context()
        except RayServeException:
            return cls(alias, None)
        if not ray.is_initialized():  # Serve's local testing mode
            return cls(alias, None)
        return cls(alias, ReplicaStatusStore(context.app_name), context.replica_id.unique_id, keep=keep)

    @property
    def facts(self) -> ReplicaStatus:
        """What it says now."""
        return self._facts

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a request is here. The time at which the last one ends is when the model falls idle."""
        self._change(active=1, requests=1)
        try:
            yield
        finally:
            self._change(active=-1)

    def touch(self) -> None:
        """Count as used without a request."""
        self._change()

    def ready(self, load_seconds: float) -> None:
        """The model is loaded."""
        now = time.time()
        main, gpu = _resident_bytes()
        self._become(
            state=ReplicaState.READY,
            since=now,
            used_at=now,
            load_seconds=load_seconds,
            resident_bytes=main + gpu,
            main_bytes=main,
        )

    def failed(self) -> None:
        """The model cannot be loaded."""
        self._become(state=ReplicaState.FAILED, since=time.time())

    def end(self) -> None:
        """Take the note down: the replica is about to exit."""
        if self._board and not self._ended:
            self._ended = True
            self._changed.set()
            self._reporter.join()
            with self._reporting:  # an engine that is still being loaded may have something to tell
                self._board.forget(self._facts.replica)

    @contextmanager
    def turn_to_load(self, capacity: int) -> Iterator[None]:
        """While it is this replica's turn: one load at a time on a device, and `capacity` models on the machine.

        The system frees the lock of a process however it ends, so nobody waits for one that was killed.
        """
        devices = sorted(f"gpu-{gpu}" for gpu in self._facts.gpus) or ["cpu"]
        names = ["any"] if capacity else devices  # those who count, count alone
        folder = _lock_folder()
        with ExitStack() as files:
            locks = [files.enter_context((folder / f"load-{name}.lock").open("a")) for name in names]
            _lock(locks)
            while capacity and self._board and len(self._others(lambda _: True)) >= capacity:
                for lock in locks:
                    fcntl.flock(lock, fcntl.LOCK_UN)
                time.sleep(_LOOK_SECONDS)
                _lock(locks)
            self._become(state=ReplicaState.LOADING, since=time.time())
            yield

    @contextmanager
    def downloading(self) -> Iterator[Callable[[int, int], None]]:
        """While its checkpoint is downloaded; to be given the bytes that are there, and those in all."""
        self._become(state=ReplicaState.DOWNLOADING, since=time.time())
        try:
            yield lambda done, total: self._become(downloaded_bytes=done, download_bytes=total)
        finally:
            self._become(state=ReplicaState.WAITING, since=time.time())

    def wait_for_room(self) -> None:
        """Have the idle models of this machine leave, after a load that ran out of memory; return when they have."""
        if self._board is None:
            return
        self._become(state=ReplicaState.OUT_OF_MEMORY, since=time.time())
        deadline = time.monotonic() + _ROOM_SECONDS
        mine = self._facts.alias
        while (
            self._others(lambda other: not (other.active or other.keep or other.alias == mine))
            and time.monotonic() < deadline
        ):
            time.sleep(_LOOK_SECONDS)
        self._become(state=ReplicaState.LOADING, since=time.time())

    def has_ready_sibling(self) -> bool:
        """Whether another replica of the model has loaded it."""
        return self._board is not None and any(
            other.alias == self._facts.alias
            and other.replica != self._facts.replica
            and other.state == ReplicaState.READY
            and (other.node != self._facts.node or psutil.pid_exists(other.pid))
            for other in self._board.facts()
        )

    def _others(self, counts: Callable[[ReplicaStatus], bool]) -> list[ReplicaStatus]:
        """Other replicas on this machine that hold, or held until they leave, a model."""
        assert self._board is not None
        mine = self._facts
        return [
            other
            for other in self._board.facts()
            if other.node == mine.node
            and other.replica != mine.replica
            and other.state not in (ReplicaState.WAITING, ReplicaState.DOWNLOADING)
            and psutil.pid_exists(other.pid)
            and counts(other)
        ]

    def _change(self, active: int = 0, requests: int = 0) -> None:
        with self._changing:
            facts = self._facts
            self._facts = replace(
                facts, active=facts.active + active, requests=facts.requests + requests, used_at=time.time()
            )
        self._changed.set()

    def _become(self, **what: object) -> None:
        with self._changing:
            self._facts = replace(self._facts, **what)  # type: ignore[arg-type]
        if self._board:
            self._report()

    def _report(self) -> None:
        assert self._board is not None
        with self._reporting:  # of two who tell, the later one has the newer facts
            if not self._ended:
                self._board.put(self._facts)

    def _report_loop(self) -> None:
        assert self._board is not None
        while not self._ended:
            if not self._changed.wait(_BEAT_SECONDS):
                with self._changing:
                    self._facts = replace(self._facts, beats=self._facts.beats + 1)
            self._changed.clear()
            try:
                self._report()
            except Exception:  # whatever it is, the model goes on working, and the next change is reported
                logger.warning("the status of %s could not be written", self._facts.alias, exc_info=True)
            time.sleep(_REPORT_SECONDS)


def _lock(files: Sequence[IO[str]]) -> None:
    """One after the other, in an order that is the same for all: no two wait for each other."""
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)


def _lock_folder() -> Path:
    """A folder for the locks of this user's servers, which nobody else can write to.

    Raises:
        ModelError: another user was there first.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) / "atelier" if runtime else Path(tempfile.gettempdir()) / f"atelier-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise ModelError(f"{folder} must be a folder that only this user can write to; remove it")
    return folder


def _resident_bytes() -> tuple[int, int]:
    """What this process keeps in main memory, and on its GPUs where there are any."""
    torch = sys.modules.get("torch")  # some models do without
    on_gpu = torch.cuda.memory_reserved() if torch and torch.cuda.is_initialized() else 0
    return int(psutil.Process().memory_info().rss), on_gpu
