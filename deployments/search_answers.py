"""What image search answers the ingress with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a search replica says of itself.

    `state` as `Search.state` has it; `embedder_calls` are counted since its start, by how they ended.
    """

    state: dict[str, Any]
    embedder_calls: dict[str, int]


@dataclass(frozen=True)
class Strays:
    """Objects that no record has, by their keys, and records whose object is gone, by project and id."""

    orphans: list[str]
    missing: list[tuple[str, str]]
    deleted: int
    """Orphans that were removed."""
    set_aside: int
    """Objects of an index that a restore has set aside: no orphans while its file is there, to go back to."""
    indexes_set_aside: list[str]
    """The names of those files, beside the index."""
