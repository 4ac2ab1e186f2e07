"""The smallest configuration, and how a mistake in one is said."""

from __future__ import annotations

from typing import Any

import pytest

import settings
from settings import ConfigurationError

MINIMAL: dict[str, Any] = {"models": {"clip": {"engine": "clip", "checkpoint": "builtin:clip"}}}


def mistake(args: dict[str, Any], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        settings.validate(args, environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)
