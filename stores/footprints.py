"""How much memory models took when they were last loaded, kept in a small JSON file."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)


class Footprints:
    """Bytes by a model's identity. For one writer; what cannot be read or written is as good as never measured."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, identity: str) -> int | None:
        """The bytes that a model took, if it was ever loaded."""
        return self._read().get(identity)

    def note(self, identity: str, count: int) -> None:
        """Remember what a model takes, for the next start."""
        known = self._read()
        if known.get(identity) == count:
            return
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps({**known, identity: count}, indent=1, sort_keys=True))
            draft.replace(self._path)
        except OSError as error:
            logger.warning("what models take could not be kept in %s: %s", self._path, error.strerror)
            draft.unlink(missing_ok=True)

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return {k: v for k, v in known.items() if isinstance(v, int) and v > 0} if isinstance(known, dict) else {}
