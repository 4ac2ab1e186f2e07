"""Log lines: of a request's, every one bears its id, in whichever process it is written."""

from __future__ import annotations

import logging
from typing import Any

from ray.serve._private.logging_utils import ServeContextFilter
from ray.serve.schema import LoggingConfig

from settings import Settings


def log_request_ids() -> None:
    """Let this replica's lines bear the id of the request that they are about.

    Serve does so by itself only where its own line for each call is switched on, or where lines are JSON.
    """
    logger = logging.getLogger("ray.serve")
    if not any(isinstance(each, ServeContextFilter) for each in logger.filters):
        logger.addFilter(ServeContextFilter())


def logging_options(settings: Settings) -> dict[str, Any]:
    """Options of a deployment whose lines are JSON where that is wanted; else what the configuration says holds."""
    if settings.log_format == "text":
        return {}
    return {"logging_config": LoggingConfig(encoding="JSON", enable_access_log=False)}
