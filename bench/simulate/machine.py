"""Eight GPUs on which replicas are loaded, work in turn and leave, by a clock that jumps from event to event."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.simulate.traffic import Request, Served

HELD_AT_ONCE = 8
"""Requests that a replica has been sent, `max_ongoing`: it ends them before it leaves."""
_EXIT_SECONDS = 1.0
_LOOK_SECONDS, _QUIET_LOOK_SECONDS = 1.0, 5.0
"""How often it is decided who is loaded, while somebody waits and while nobody does."""


@dataclass(eq=False)
class Replica:
    """A process that holds room from when it is placed until it has left."""

    name: str
    model: Served
    gpus: tuple[int, ...]
    placed_at: float
    ready_at: float
    used_at: float
    works: bool = False
    is_leaving: bool = False
    own: deque[Request] = field(default_factory=deque)
    """What one that leaves has been sent and ends first."""


@dataclass(eq=False)
class Line:
    """A model, its replicas, and the requests that wait for one of them."""

    model: Served
    waiting: deque[Request] = field(default_factory=deque)
    replicas: list[Replica] = field(default_factory=list)
    target: int = 0

    def ready(self, now: float) -> list[Replica]:
        """Those that can answer."""
        return [each for each in self.staying if each.ready_at <= now]

    @property
    def staying(self) -> list[Replica]:
        """Those that are not about to leave."""
        return [each for each in self.replicas if not each.is_leaving]


@dataclass(frozen=True)
class Decision:
    """Who leaves, and how many replicas each model is to have."""

    leaving: Sequence[Replica]
    targets: dict[str, int]


class Keeper(Protocol):
    """Decides who is loaded."""

    def share(self, model: Served) -> float:
        """What of a GPU a replica of the model is given."""

    def decide(self, now: float, lines: dict[str, Line]) -> Decision:
        """What is to be loaded now."""


@dataclass
class Seen:
    """What came of it: the seconds that each request waited, how many found their model there, and GPU seconds held."""

    waits: list[float] = field(default_factory=list)
    hits: int = 0
    loads: int = 0
    gpu_seconds: float = 0.0


class Machine:
    """The GPUs, the models and the clock. `is_full_at_first`: everything is loaded, and no decision is made."""

    def __init__(self, models: Sequence[Served], keeper: Keeper | None, gpus: int = 8) -> None:
        self.lines = {model.alias: Line(model) for model in models}
        self.seen = Seen()
        self._keeper, self._gpus = keeper, gpus
        self._free = dict.fromkeys(range(gpus), 1.0)
        self._loads_until = dict.fromkeys(range(gpus), 0.0)
        self._now, self._numbers = 0.0, itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._looks_at = math.inf
        if keeper is None:
            for line in self.lines.values():
                line.replicas.append(Replica(line.model.alias, line.model, (), 0, 0, 0))

    def run(self, requests: Sequence[Request]) -> Seen:
        """Let the requests come, until the last of them is worked on."""
        for each in requests:
            self._at(each.at, lambda each=each: self._come(each))  # type: ignore[misc]
        self._look()
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
            if len(self.seen.waits) == len(requests):
                break
        for line in self.lines.values():
            for replica in line.replicas:
                self._count_room(replica)
        return self.seen

    def _at(self, when: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), happen))

    def _come(self, request: Request) -> None:
        line = self.lines[request.model.alias]
        line.waiting.append(request)
        ready = line.ready(self._now)
        self.seen.hits += bool(ready)
        for replica in ready:
            self._work(line, replica)
        if not ready:
            self._decide()

    def _work(self, line: Line, replica: Replica) -> None:
        """Have a replica take the next request, if it is free and there is one; one that leaves goes after its last."""
        if replica.works or replica.ready_at > self._now:
            return
        queue = replica.own if replica.is_leaving else line.waiting
        if queue:
            request = queue.popleft()
            replica.works = True
            self.seen.waits.append(self._now - request.at)
            self._at(self._now + request.seconds, lambda: self._end(line, replica))
        elif replica.is_leaving:
            self._at(self._now + _EXIT_SECONDS, lambda: self._gone(line, replica))

    def _end(self, line: Line, replica: Replica) -> None:
        replica.works, replica.used_at = False, self._now
        self._work(line, replica)

    def _gone(self, line: Line, replica: Replica) -> None:
        line.replicas.remove(replica)
        self._count_room(replica)
        for gpu in replica.gpus:
            self._free[gpu] += min(self._share(replica.model), 1.0)
        self._decide()

    def _count_room(self, replica: Replica) -> None:
        self.seen.gpu_seconds += replica.model.gpus * (self._now - replica.placed_at)

    def _look(self) -> None:
        if self._keeper is not None:
            self._decide()
            is_waited_for = any(line.waiting for line in self.lines.values())
            self._at(self._now + (_LOOK_SECONDS if is_waited_for else _QUIET_LOOK_SECONDS), self._look)

    def _decide(self) -> None:
        if self._keeper is None:
            return
        decision = self._keeper.decide(self._now, self.lines)
        for replica in decision.leaving:
            self._leave(replica)
        short = []
        for alias, target in decision.targets.items():
            line = self.lines[alias]
            line.target = target
            short += [line] * (target - len(line.staying))
        for line in sorted(
            short, key=lambda each: each.waiting[0].at if each.waiting and not each.staying else math.inf
        ):
            self._place(line)

    def _leave(self, replica: Replica) -> None:
        line = self.lines[replica.model.alias]
        replica.is_leaving = True
        held = min(HELD_AT_ONCE - 1, len(line.waiting) // (1 + len(line.ready(self._now)))) if replica.works else 0
        replica.own.extend(line.waiting.popleft() for _ in range(held))
        self._work(line, replica)

    def _share(self, model: Served) -> float:
        assert self._keeper is not None
        return self._keeper.share(model)

    def _place(self, line: Line) -> None:
        """Start a replica where its share is free, on the fullest GPU that has it; else it waits, as at Ray."""
        share = self._share(line.model)
        each, count = min(share, 1.0), max(1, round(share))
        fitting = sorted((left, gpu) for gpu, left in self._free.items() if left >= each - 1e-6)[:count]
        if len(fitting) < count:
            return
        gpus = tuple(gpu for _, gpu in fitting)
        begins = max([self._now, *(self._loads_until[gpu] for gpu in gpus)])  # one load at a time on a GPU
        ready_at = begins + line.model.load_seconds
        for gpu in gpus:
            self._free[gpu] -= each
            self._loads_until[gpu] = ready_at
        replica = Replica(f"{line.model.alias}-{next(self._numbers)}", line.model, gpus, self._now, ready_at, ready_at)
        line.replicas.append(replica)
        self.seen.loads += 1
        self._at(ready_at, lambda: self._ready(line, replica))

    def _ready(self, line: Line, replica: Replica) -> None:
        self._work(line, replica)
        self._decide()
