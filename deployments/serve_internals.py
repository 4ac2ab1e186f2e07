"""What is used of the insides of Ray and Ray Serve, which no document promises.

Everything of that kind stands here, so that another version of Ray is checked in one place
(tests/deployments/test_serve_internals.py).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Any, cast

import ray
from ray import serve
from ray.serve.context import _get_global_client, _get_serve_request_context, _serve_request_context
from ray.serve.exceptions import RayServeException


def deployment_details(application: str, timeout: float) -> Mapping[str, Mapping[str, Any]]:
    """What Serve's controller knows of an application's deployments, by name: their status, replicas and states.

    `serve.status()` asks the same, and then takes 90 ms to check the whole configuration again; it waits for ever.

    Raises:
        ray.exceptions.RayError: the controller did not answer in time, or is gone; whatever it is, it may pass.
    """
    controller = _get_global_client()._controller
    details = ray.get(controller.get_serve_instance_details.remote(), timeout=timeout)
    return cast("Mapping[str, Mapping[str, Any]]", details["applications"].get(application, {}).get("deployments", {}))


def application_name() -> str:
    """The application to which this replica belongs. Raises `RayServeException` outside a replica."""
    return str(serve.get_replica_context().app_name)


def is_in_replica() -> bool:
    """Whether this process is a replica of its own: neither a test nor Serve's local testing mode."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return bool(ray.is_initialized())


def end_process() -> None:
    """End this replica's process at once, as a crash would: Serve starts another, and callers get `RayActorError`.

    Only the log is written out: on a broken device that could hang.
    """
    logging.shutdown()
    os._exit(1)


def context_outliving_the_request() -> Context:
    """The caller's context, with the request's id and trace, in which work goes on when that caller has left.

    Serve cancels what was called for a request that is broken off, which it knows by an id of its own.
    """
    context = copy_context()
    context.run(_serve_request_context.set, replace(_get_serve_request_context(), _internal_request_id=""))
    return context
