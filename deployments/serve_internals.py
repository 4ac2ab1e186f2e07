"""What is used of the insides of Ray and Ray Serve, which no document promises.

Everything of that kind stands here, so that another version of Ray is checked in one place
(tests/deployments/test_serve_internals.py, docs/upgrading.md); what starts and ends Serve is in cli/ray_internals.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Any, Final, cast

import ray
from grpc.aio import AioRpcError
from ray import serve
from ray._private.ray_constants import KV_NAMESPACE_DASHBOARD
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)
from ray.experimental import internal_kv
from ray.serve._private import constants
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.deployment_scheduler import DeploymentScheduler
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy
from ray.serve._private.logging_utils import ServeContextFilter
from ray.serve._private.thirdparty.get_asgi_route_name import get_asgi_route_name
from ray.serve.context import _get_global_client, _get_serve_request_context, _serve_request_context
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.executors import SENDING

logger = logging.getLogger("ray.serve")

_BY_REFERENCE: Final = 2**20
"""From how many bytes on an argument goes by way of Ray's object store."""
_UNREAD: Final = 64 * 2**10
"""Bytes of a request's body that may wait for the application: as many as need no room of their own."""


class _PacedMessages(asyncio.Queue[Any]):
    """Messages of one request, of which no more than `_UNREAD` bytes of the body and one piece wait.

    Nothing is received while they do. So the end of a connection is noticed behind a small body that nobody has read,
    and behind a large one when it is read.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def put(self, item: Any) -> None:
        self.put_nowait(item)
        await self._has_room.wait()

    def _put(self, item: Any) -> None:
        super()._put(item)
        self._count(len(item.get("body", b"")))

    def _get(self) -> Any:
        item = super()._get()
        self._count(-len(item.get("body", b"")))
        return item

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._bytes > _UNREAD:
            self._has_room.clear()
        else:
            self._has_room.set()


def read_bodies_as_they_are_asked_for() -> None:
    """Have this replica read a request's body no faster than its application does; to be called before it serves.

    Serve reads every body at once and as a whole, before the application has said whether it wants it: a thousand
    uploads are then in memory whatever that decides.
    """
    if constants.RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD:
        logger.warning("without RAY_SERVE_THROUGHPUT_OPTIMIZED=1, Serve reads request bodies into memory at once")
        return

    def queue(proxy: ASGIDIReceiveProxy) -> asyncio.Queue[Any]:
        messages: asyncio.Queue[Any] = proxy._queue or _PacedMessages()
        proxy._queue = messages
        return messages

    ASGIDIReceiveProxy.queue = property(queue)


def deployment_details(application: str, timeout: float) -> Mapping[str, Mapping[str, Any]]:
    """What Serve's controller knows of an application's deployments, by name: their status, replicas and states.

    `serve.status()` asks the same, and then takes 90 ms to check the whole configuration again; it waits for ever.

    Raises:
        ray.exceptions.RayError: the controller did not answer in time, or is gone; whatever it is, it may pass.
    """
    controller = _get_global_client()._controller
    details = ray.get(controller.get_serve_instance_details.remote(), timeout=timeout)
    return cast("Mapping[str, Mapping[str, Any]]", details["applications"].get(application, {}).get("deployments", {}))


_stop_first: Final[set[str]] = set()
_replicas_to_stop: Final = DeploymentScheduler._get_replicas_to_stop


def stop_first(replicas: Collection[str]) -> None:
    """Have these go first, by their ids, when a deployment is to have fewer; in the process of Serve's controller.

    Serve takes a number from a policy and chooses by itself: those that are still starting, then those on nodes with
    few. A busy one would leave while an idle one stays, or one on a node where nobody needs its room.
    """
    _stop_first.clear()
    _stop_first.update(replicas)
    DeploymentScheduler._get_replicas_to_stop = _chosen_replicas_to_stop


def _chosen_replicas_to_stop(
    scheduler: DeploymentScheduler, deployment: DeploymentID, at_most: int, **more: Any
) -> set[ReplicaID]:
    running = scheduler._running_replicas[deployment]
    chosen = [each for each in running if each.unique_id in _stop_first][:at_most]
    by_serve = _replicas_to_stop(scheduler, deployment, at_most, **more)
    others = sorted(by_serve - set(chosen), key=lambda each: each in running)
    return {*chosen, *others[: at_most - len(chosen)]} if chosen else by_serve


_LOSSES: Final = (RayActorError, NodeDiedError, ObjectLostError, WorkerCrashedError, LocalRayletDiedError, AioRpcError)


def is_loss(error: BaseException) -> bool:
    """Whether a call failed because the process that it was given to, or its machine, has gone: not by what was asked.

    A process that ends is an `ActorDiedError` or, over gRPC, unavailable; its machine may take results along that were
    not fetched yet. Over gRPC, Serve knows one only if the call had been accepted: a stream that ends before is an
    `AioRpcError` of another code, or a RuntimeError that names it.
    """
    if isinstance(error, RayTaskError) and error.cause is not error:
        return isinstance(error.cause, _LOSSES)
    return isinstance(error, _LOSSES) or (
        type(error) is RuntimeError and str(error).startswith("Unexpected error (StatusCode.")
    )


async def pass_large(handle: DeploymentHandle, args: Sequence[Any]) -> tuple[DeploymentHandle, Sequence[Any]]:
    """The handle and the arguments for a call that has large bytes among them, which it may be given several times.

    Serve would pickle them, copy them into a message and that into another, all on the event loop: a tenth of a second
    and five copies for 20 MB. By way of Ray's object store they are copied once, by a thread. They leave it with the
    last of these arguments.

    Raises:
        ExecutorFull: too many wait for those threads.
    """
    if not is_in_replica() or not any(map(_is_large, args)):
        return handle, args
    passed = [await SENDING.run(ray.put, each) if _is_large(each) else each for each in args]
    return handle.options(_by_reference=True), passed


def _is_large(value: object) -> bool:
    return isinstance(value, bytes) and len(value) >= _BY_REFERENCE


def dashboard_url() -> str | None:
    """Where Ray's dashboard is; None where there is none, or Ray does not run. A round trip of some 0.3 ms."""
    if not internal_kv._internal_kv_initialized():
        return None
    address = internal_kv._internal_kv_get("webui:url", namespace=KV_NAMESPACE_DASHBOARD)
    return f"http://{address.decode()}" if address else None


def application_name() -> str:
    """The application to which this replica belongs. Raises `RayServeException` outside a replica."""
    return str(serve.get_replica_context().app_name)


def replica_number() -> int | None:
    """This replica's number where its deployment has several, else None."""
    if not is_in_replica():
        return None
    context = serve.get_replica_context()
    return int(context.rank.rank) if context.world_size > 1 else None


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


def begin_request(request_id: str, route: str) -> None:
    """Give the request that this context answers an id and a route, which Serve takes along with every call."""
    _serve_request_context.set(replace(_get_serve_request_context(), request_id=request_id, route=route))


def route_template(app: Any, scope: MutableMapping[str, Any]) -> str | None:
    """The template of the route of an ASGI application that takes a request; None where none does.

    Sub-applications and prefixes count, which Starlette itself tells only once the request has been answered.
    """
    template: str | None = get_asgi_route_name(app, scope)
    return template


def log_request_ids() -> None:
    """Let this replica's log lines bear the id of the request that they are about.

    Serve does so by itself only where its own line for each call is switched on, or where lines are JSON.
    """
    logger = logging.getLogger("ray.serve")
    if not any(isinstance(each, ServeContextFilter) for each in logger.filters):
        logger.addFilter(ServeContextFilter())


class KeyValueStore:
    """Ray's own key-value store, on its head node. Each call is a round trip of some 0.3 ms, and blocks."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace.encode()

    def put(self, key: str, value: bytes) -> None:
        """Write a value, over another where there is one."""
        internal_kv._internal_kv_put(key.encode(), value, True, namespace=self._namespace)

    def get(self, key: str) -> bytes | None:
        """The value, None where there is none."""
        value: bytes | None = internal_kv._internal_kv_get(key.encode(), namespace=self._namespace)
        return value

    def delete(self, key: str) -> None:
        """Remove a value, if there is one."""
        internal_kv._internal_kv_del(key.encode(), namespace=self._namespace)

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin so."""
        return [key.decode() for key in internal_kv._internal_kv_list(prefix.encode(), namespace=self._namespace)]
