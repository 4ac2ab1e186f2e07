"""What a search replica says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """`state` as `Search.state` has it; `embedder_calls` are counted since its start, by how they ended."""

    state: dict[str, Any]
    embedder_calls: dict[str, int]
