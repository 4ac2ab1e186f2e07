"""An existing Ray cluster that the server is to run on: the way to it, and what is wrong with its nodes."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import settings
from cli import cluster_node, ray_internals
from cli.environment import ROOT, cluster_environment
from settings.version import version

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

AUTO: Final = "auto"
_HOST_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(\d{1,5})")
_LISTENS_SECONDS: Final = 5.0
_ANSWERS_SECONDS: Final = 60.0
_EXAMINED_SECONDS: Final = 60.0
"""How long a node may take to say what it has: it starts a process for that."""
_TOKEN: Final = "the one of RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"  # noqa: S105 - where it is
_NO_TOKEN: Final = f"the cluster asks for its token, and there is none here ({_TOKEN})"
_REASONS: Final[Mapping[str, str]] = {
    r"find any (active|running) Ray": "no Ray cluster has a node on this machine; name one by HOST:PORT of its head",
    r"Found multiple active Ray": "several Ray clusters have nodes on this machine; name one by HOST:PORT of its head",
    r"no authentication token was found": _NO_TOKEN,
    r"InvalidAuthToken": f"the cluster asks for its token, which is not {_TOKEN}",
    r"No node info found|resolve node to connect": "this machine is no node of the cluster; `ray start --address={0}` "
    "makes it one",
}
"""By what Ray says, in the middle of much else."""


class ClusterError(Exception):
    """The server cannot run on the cluster; `str(error)` is one line."""


def checked_address(given: str) -> str:
    """What `--address` says, if it can be the address of a cluster.

    Raises:
        ConfigurationError: it is none, or one of a kind that Ray Serve cannot be started by.
    """
    if "://" in given:
        raise settings.ConfigurationError(
            f"--address: {given!r}: Serve is started by a node of the cluster, not through Ray Client; run this "
            "command on one of them, with --address auto"
        )
    found = _HOST_PORT.fullmatch(given)
    if given != AUTO and (found is None or not 1 <= int(found[2]) <= 65535):
        raise settings.ConfigurationError(
            f"--address: {given!r}: auto, or HOST:PORT of the cluster's head such as 10.0.0.1:6379, is needed"
        )
    return given


def connect(address: str) -> None:
    """Connect this process to a cluster of which this machine is a node.

    Raises:
        ClusterError: there is none, it is of another version, or it asks for another token.
    """
    import ray

    if address != AUTO:
        _require_listening(address)
    with _ended_unless_answered(address):
        try:
            ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise ClusterError(f"--address {address}: {_reason(error).format(address)}") from error
    logging.getLogger("ray.serve").setLevel(logging.ERROR)


def _require_listening(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _LISTENS_SECONDS).close()
    except OSError as error:
        said = error.strerror or str(error)
        raise ClusterError(f"--address {address}: no Ray cluster answers there: {said}") from None


@contextmanager
def _ended_unless_answered(address: str) -> Iterator[None]:
    """End the process when something listens there that is no Ray: Ray would wait for minutes, and not raise."""

    def end() -> None:
        print(f"--address {address}: what listens there does not answer as a Ray cluster", flush=True)
        os._exit(1)

    timer = threading.Timer(_ANSWERS_SECONDS, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _reason(error: BaseException | None) -> str:
    """Why Ray has not connected, in one line."""
    said, each = [], error
    while each is not None:
        said.append(str(each))
        each = each.__cause__ or each.__context__
    text = "\n".join(said)
    if versions := re.findall(r"Ray: (\S+)\s+Python: (\S+)", text):
        (ray_there, python_there), (ray_here, python_here) = versions[0], versions[-1]
        return (
            f"the cluster runs Ray {ray_there} on Python {python_there}, and this is Ray {ray_here} on Python "
            f"{python_here}; both have to be the same on all nodes"
        )
    if "InvalidAuthToken" in text and os.environ.get("RAY_AUTH_MODE") != "token":
        return _NO_TOKEN
    for pattern, reason in _REASONS.items():
        if re.search(pattern, text):
            return reason
    return next((line for line in reversed(said[0].splitlines()) if line.strip()), "Ray does not connect")


def prepare(config: ServeDeploySchema) -> list[str]:
    """Have the processes of the application set up as those of `atelier up`; what is to be known of the nodes.

    Raises:
        ClusterError: Serve runs applications there already, clients could not reach this one, or a node cannot run it.
    """
    if names := ray_internals.applications():
        raise ClusterError(
            f"Serve runs {', '.join(names)} on the cluster already: end that by `serve shutdown`, or change it by "
            "`serve deploy`"
        )
    _require_reachable(config)
    ray_internals.add_controller_variables(config, cluster_environment())
    return [*_misfits(config), *_faults(config)]


def _require_reachable(config: ServeDeploySchema) -> None:
    if config.http_options.host in ("127.0.0.1", "localhost", "::1") and not ray_internals.is_head_here():
        raise ClusterError(
            f"HOST: {config.http_options.host!r}: clients come in on the head of the cluster, which is another "
            "machine: start there, or set HOST to 0.0.0.0"
        )


def _misfits(config: ServeDeploySchema) -> Iterator[str]:
    """Models that fit on no node as it is now."""
    nodes = ray_internals.nodes()
    for alias, entry in settings.validate(config.applications[0].args, os.environ).models.items():
        kinds = {each.accelerator for each in nodes}
        if entry.accelerator and entry.accelerator not in kinds:
            yield f"models.{alias}: no node has a GPU of the kind {entry.accelerator}; until one joins it answers 503"
        elif not any(
            each.gpus >= entry.gpus and each.memory >= (entry.memory or 0)
            for each in nodes
            if entry.accelerator in (None, "", each.accelerator)
        ):
            needs = f"{entry.gpus:g} GPU and {entry.memory or 0} bytes of memory"
            yield f"models.{alias}: no node has {needs}; until one joins it answers 503"


def _faults(config: ServeDeploySchema) -> Iterator[str]:
    """What nodes lack, each in a line: they look at themselves, all at once.

    Raises:
        ClusterError: a node does not have this code. Ray would give it replicas all the same, which never start.
    """
    expected = {"root": str(ROOT), "version": version(), "digest": cluster_node.sources_digest(ROOT)}
    args = config.applications[0].args
    variables = cluster_node.variable_digests(os.environ)
    found = list(ray_internals.examine_nodes(expected, args, variables, _EXAMINED_SECONDS))
    if unfit := [f"node {address}: {why}" for address, why, _ in found if why]:
        raise ClusterError(f"{'; '.join(unfit)}; install the same there, or take it out by `ray stop`")
    for address, _, faults in found:
        for fault in faults:
            yield f"node {address}: {fault}"


def front_url(config: ServeDeploySchema) -> str:
    """Where this machine reaches the server: on the head of the cluster."""
    host = config.http_options.host
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = ray_internals.head_address()
    return f"http://{f'[{host}]' if ':' in host else host}:{config.http_options.port}"
