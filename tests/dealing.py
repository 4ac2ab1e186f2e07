"""Which files of tests are dealt to one process together, and which come first.

Whole files are dealt out, to whoever has next to nothing left. Those that need the shared server come first: it can end
before the others, of whose time it would take a fifth of a core. Of both the longest come first, so that no process is
alone with one of them at the end. The files of a folder with a server of its own stay together, to start it once.
"""

from __future__ import annotations

from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER: Final = "tests/api/attached"
SECONDS: Final = {
    "tests/api/test_fleet.py": 220,
    TOGETHER: 150,
    "tests/test_launch.py": 130,
    "tests/api/test_resilience.py": 110,
    "tests/models/image/test_diffusion_mlx.py": 80,
    "tests/api/test_curl_families.py": 75,
    "tests/api/test_broken_model.py": 70,
    "tests/models/speech/test_qwen.py": 70,
    "tests/models/image/test_diffusion_edits.py": 65,
    "tests/api/test_cli_search.py": 60,
    "tests/api/test_keys.py": 60,
    "tests/models/speech/test_mlx.py": 60,
    "tests/models/test_builtin.py": 55,
    "tests/api/test_examples.py": 50,
    "tests/test_serve_run.py": 50,
}
"""What takes longest, roughly; the rest may come in any order."""


class Dealing(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Deals out files in the order of the collection, and a folder of `TOGETHER` as if it were one."""

    def _split_scope(self, nodeid: str) -> str:
        return dealt_with(nodeid)


def dealt_with(nodeid: str) -> str:
    """The file, or folder, that a test is dealt out with."""
    file = nodeid.partition("::")[0]
    return TOGETHER if file.startswith(f"{TOGETHER}/") else file


def in_order(items: list[pytest.Item]) -> set[str]:
    """Sort the tests, but for those of a file; the files, or folders, that need the shared server, which come first."""
    served = {dealt_with(item.nodeid) for item in items if "server" in getattr(item, "fixturenames", ())}

    def place(item: pytest.Item) -> tuple[bool, int]:
        dealt = dealt_with(item.nodeid)
        return dealt not in served, -SECONDS.get(dealt, 0)

    items.sort(key=place)
    return served
