"""Which tests are dealt to one process together, and in which order: what takes longest first, so that nothing long is
left for the end.

How long each took in the last run is kept in pytest's cache. What was never run here comes first when it starts servers
or is given more time than the other tests, and else by the number of its tests.

Files that need the shared server go to the first process, which ends that server when it has come to the rest. Files
that start servers of their own go to the second one as long as there are any. Servers take their time to start and to
end, and wait for each other when many do; so all other processes have the rest only, and use the time that these two
wait. When one of the two dies, the next in line takes its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.servers import Server, start_server

TOGETHER: Final = "tests/api/attached"
"""A folder with a server of its own, whose files stay together."""
SHARED: Final = "atelier/shared"
"""Where pytest's cache has what needs the shared server: only a process that has collected it knows."""
OWN: Final = "atelier/own"
"""Where it has what starts servers of its own."""


class Dealing(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Deals out files in the order of the collection, to each process what it is there for."""

    def schedule(self) -> None:
        if self.collection is None:
            cache = getattr(self.config, "cache", None)
            self._shared, self._own = (set(cache.get(each, ()) if cache else ()) for each in (SHARED, OWN))
        super().schedule()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        # Forgotten, or xdist would count through all that is done after each test.
        scope = dealt_with(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][scope].values()):
            del self.assigned_work[node][scope]

    def _split_scope(self, nodeid: str) -> str:
        return dealt_with(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if (chosen := self._next_for(node)) is not None:
            self.workqueue.move_to_end(chosen, last=False)
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if not node.shutting_down and self.workqueue and self._next_for(node) is None:
            node.shutdown()  # all that is left is another's
        else:
            super()._reschedule(node)

    def _next_for(self, node: WorkerController) -> str | None:
        """What is dealt to a process next; None when there is nothing for it."""
        there = [each for each in self.assigned_work if not each.shutting_down]  # one that replaces another comes last
        if node not in there:
            return None
        rest = self.workqueue.keys() - self._shared - self._own
        wanted = ((self._shared, rest, self._own), (self._own, rest), (rest,))[min(2, there.index(node))]
        return next((scope for kind in wanted for scope in self.workqueue if scope in kind), None)


def dealt_with(nodeid: str) -> str:
    """The file, or folder, that a test is dealt out with."""
    file = nodeid.partition("::")[0]
    return TOGETHER if file.startswith(f"{TOGETHER}/") else file


def sharing(items: list[pytest.Item]) -> frozenset[str]:
    """The files, or folders, that need the shared server."""
    return frozenset(dealt_with(item.nodeid) for item in items if _shares(item))


def starting(items: list[pytest.Item]) -> frozenset[str]:
    """The files, or folders, that start servers of their own, and do not need the shared one."""
    return frozenset(dealt_with(item.nodeid) for item in items if _starts_servers(item)) - sharing(items)


def _shares(item: pytest.Item) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get("server") if isinstance(item, pytest.Function) else None
    return found is not None and found[-1].baseid == "tests"  # a file may have a `server` of its own


def _starts_servers(item: pytest.Item) -> bool:
    known = vars(getattr(item, "module", None) or object).values()
    return dealt_with(item.nodeid) == TOGETHER or any(each is start_server or each is Server for each in known)


def in_order(items: list[pytest.Item], seconds: Mapping[str, float]) -> None:
    """Sort the tests, but for those of a file: what needs servers, then by the `seconds` of the last run."""
    tests = Counter(dealt_with(item.nodeid) for item in items)
    shared, own = sharing(items), starting(items)
    long = {dealt_with(item.nodeid) for item in items if item.get_closest_marker("timeout")} | own

    def place(item: pytest.Item) -> tuple[bool, bool, float, int]:
        dealt = dealt_with(item.nodeid)
        unknown = math.inf if dealt in long else 0.0
        return dealt not in shared, dealt not in own, -seconds.get(dealt, unknown), -tests[dealt]

    items.sort(key=place)
