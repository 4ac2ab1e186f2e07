"""The form of log lines. That those of a request bear its id is `serve_internals.log_request_ids`."""

from __future__ import annotations

from typing import Any

from ray.serve.schema import LoggingConfig

from settings import Settings


def logging_options(settings: Settings) -> dict[str, Any]:
    """Options of a deployment whose lines are JSON where that is wanted; else what the configuration says holds."""
    if settings.log_format == "text":
        return {}
    return {"logging_config": LoggingConfig(encoding="JSON", enable_access_log=False)}
