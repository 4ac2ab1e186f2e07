"""Which tests are dealt to one process together, and in which order: what takes longest first, so that nothing long is
left for the end.

How long each took in the last run is kept in pytest's cache. What was never run here comes first when it starts servers
or is given more time than the other tests, and else by the number of its tests.

Those that need the shared server go to all processes but one, which need not start it; the others begin with them,
and end their server when they have come to the rest, of whose time it would take a fifth of a core.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.servers import start_server

TOGETHER: Final = "tests/api/attached"
"""A folder with a server of its own, whose files stay together."""
SERVED: Final = "atelier/served"
"""Where pytest's cache has the names that need the shared server: only a process that has collected them knows."""


class Dealing(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Deals out files in the order of the collection, and those that need the shared server not to the last process."""

    def schedule(self) -> None:
        self._served = set(self.config.cache.get(SERVED, ())) if hasattr(self.config, "cache") else set()
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return dealt_with(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if (chosen := self._next_for(node)) is not None:
            self.workqueue.move_to_end(chosen, last=False)
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if self.workqueue and self._next_for(node) is None and not node.shutting_down:
            node.shutdown()  # all that is left is another's
        else:
            super()._reschedule(node)

    def _next_for(self, node: WorkerController) -> str | None:
        """What is dealt to a process next; None when there is nothing for it."""
        nodes = list(self.assigned_work)
        has_the_server = node is nodes[0] or node is not nodes[-1]
        mine = [scope for scope in self.workqueue if has_the_server or scope not in self._served]
        return next((scope for scope in mine if scope in self._served), next(iter(mine), None))


def dealt_with(nodeid: str) -> str:
    """The file, or folder, that a test is dealt out with."""
    file = nodeid.partition("::")[0]
    return TOGETHER if file.startswith(f"{TOGETHER}/") else file


def served_of(items: list[pytest.Item]) -> frozenset[str]:
    """The files, or folders, that need the shared server."""
    return frozenset(
        dealt_with(item.nodeid) for item in items if isinstance(item, pytest.Function) and _is_served(item)
    )


def _is_served(item: pytest.Function) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get("server")
    return found is not None and found[-1].baseid == "tests"  # a file may have a `server` of its own


def in_order(items: list[pytest.Item], seconds: Mapping[str, float]) -> None:
    """Sort the tests, but for those of a file: what needs the shared server, then by the `seconds` of the last run."""
    tests = Counter(dealt_with(item.nodeid) for item in items)
    long = {dealt_with(item.nodeid) for item in items if _looks_long(item)}
    served = served_of(items)

    def place(item: pytest.Item) -> tuple[bool, float, int]:
        dealt = dealt_with(item.nodeid)
        unknown = math.inf if dealt in long else 0.0
        return dealt not in served, -seconds.get(dealt, unknown), -tests[dealt]

    items.sort(key=place)


def _looks_long(item: pytest.Item) -> bool:
    starts_servers = any(each is start_server for each in vars(getattr(item, "module", None) or object).values())
    return starts_servers or item.get_closest_marker("timeout") is not None
