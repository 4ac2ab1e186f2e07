"""What the command uses of the insides of Ray and Ray Serve, which no document promises.

Everything of that kind stands here or in deployments/serve_internals.py (tests/cli/test_ray_internals.py,
docs/upgrading.md). Nothing is imported at the top: every Ray worker imports this module first.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

NODE_IS_LATE = "The current node timed out during startup."
"""What `ray.init` says, as a bare `Exception`, when its processes did not answer within 30 s."""


def start_serve(config: "ServeDeploySchema") -> Any:
    """Serve's controller and proxies, without applications; returns the client. `serve.start` takes no proxy location.

    Raises:
        ray.exceptions.RayTaskError: a proxy cannot listen, say.
    """
    from ray.serve._private.api import serve_start
    from ray.serve.config import gRPCOptions

    return serve_start(
        http_options=config.http_options.model_dump(),
        proxy_location=config.proxy_location,
        grpc_options=gRPCOptions(**config.grpc_options.model_dump()),
        controller_options=config.controller_options,
    )


def init(**options: Any) -> Any:
    """`ray.init`, once more when the node took longer to start than the 30 s that Ray gives it.

    A machine that is just waking, or busy, takes longer; Ray has no setting for it. Nor has it one for the log monitor
    of a node that is started here: it reads all logs for a driver that prints them (`log_to_driver`), which takes 80 MB
    and a hundredth of a core of a server at rest.

    Raises:
        Exception: what `ray.init` raises, at the second try too when it was that.
    """
    import ray
    from ray._private.node import Node

    if not options.get("log_to_driver", True):
        Node.start_log_monitor = lambda _: None
    try:
        return ray.init(**options)
    except Exception as error:
        if NODE_IS_LATE not in str(error):
            raise
        ray.shutdown()
        return ray.init(**options)


@dataclass(frozen=True)
class ClusterNode:
    """A node that lives: bytes of memory for models, GPUs and their kind, as Ray names it."""

    id: str
    address: str
    is_head: bool
    memory: int
    gpus: float
    accelerator: str


def nodes() -> list[ClusterNode]:
    """The nodes of the cluster to which this process is connected."""
    import ray
    from ray._common.constants import HEAD_NODE_RESOURCE_NAME

    return [
        ClusterNode(
            each["NodeID"],
            each["NodeManagerAddress"],
            HEAD_NODE_RESOURCE_NAME in each["Resources"],
            int(each["Resources"].get("memory", 0)),
            each["Resources"].get("GPU", 0),
            (each.get("Labels") or {}).get("ray.io/accelerator-type", ""),
        )
        for each in ray.nodes()
        if each["Alive"]
    ]


def head_address() -> str:
    """The IP address of the cluster's head."""
    return next(each.address for each in nodes() if each.is_head)


def is_head_here() -> bool:
    """Whether this process is connected by the head of the cluster."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    return any(each.is_head and each.id == here for each in nodes())


def applications() -> list[str]:
    """The names of what Serve runs on the cluster; none where Serve does not run."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.exceptions import RayServeException

    try:
        _get_global_client()
    except RayServeException:
        return []
    return list(serve.status().applications)


def add_controller_variables(config: "ServeDeploySchema", variables: Mapping[str, str]) -> None:
    """Set variables for Serve's controller, and for all processes that it starts; those of the file go before."""
    from ray.serve.config import ControllerOptions

    options = config.controller_options or ControllerOptions()
    given = (options.runtime_env or {}).get("env_vars", {})
    config.controller_options = ControllerOptions(runtime_env={"env_vars": {**variables, **given}})


def examine_nodes(
    expected: Mapping[str, str], args: Any, variables: Mapping[str, str], seconds: float
) -> Iterator[tuple[str, str, list[str]]]:
    """What each node finds wrong with itself: its address, why it cannot run this code (else empty), and what it lacks.

    `expected` has the `root` folder of the code, its `version` and `digest`; `args` are those of the application, and
    `variables` the digests of those that are set here. A node has so many seconds.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def examine(
        expected: dict[str, str], args: Any, variables: dict[str, str]
    ) -> tuple[str, list[str]]:  # pickled with its code
        import os
        import sys

        root = expected["root"]
        if not os.path.isfile(os.path.join(root, "graph.py")):  # noqa: PTH113, PTH118 - as little as can be imported
            return f"has no Atelier in {root}, where the others have it", []
        sys.path.insert(0, root)
        try:
            from pathlib import Path

            from cli import cluster_node
            from settings.version import version

            if (found := version()) != expected["version"]:
                return f"has Atelier {found}, and this is {expected['version']}", []
            if cluster_node.sources_digest(Path(root)) != expected["digest"]:
                return f"has other files of Atelier {found} in {root} than this machine", []
            return "", cluster_node.faults(args, variables)
        except ImportError as error:
            return f"has another version of Atelier, or of its packages: {error}", []

    there = nodes()
    task = ray.remote(num_cpus=0, max_retries=0)(examine)
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(each.id, soft=False)).remote(
            dict(expected), args, dict(variables)
        )
        for each in there
    ]
    ray.wait(asked, num_returns=len(asked), timeout=seconds)
    for each, answer in zip(there, asked, strict=True):
        try:
            yield each.address, *ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            yield each.address, "", [f"has not started a process within {seconds:g} s"]
        except ray.exceptions.RayError as error:
            yield each.address, f"cannot run a process of Atelier: {str(error).strip().splitlines()[-1]}", []


def ended_ray_processes() -> list[str]:
    """Which of the processes without which Ray starts nothing have ended, of those that `ray.init` started here.

    Raises:
        RuntimeError: `ray.init` has not started any.
    """
    from ray._private import worker
    from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

    if worker._global_node is None:
        raise RuntimeError("ray.init has not been called")
    return [
        name
        for name, _ in worker._global_node.dead_processes()
        if name in (PROCESS_TYPE_RAYLET, PROCESS_TYPE_GCS_SERVER)
    ]


def shut_down_serve(client: Any) -> None:
    """Let replicas finish and run their shutdown hooks; returns when the controller is gone.

    `serve.shutdown` gives up after 15 s and kills what is left.
    """
    import ray

    controller = client._controller
    ray.get(controller.graceful_shutdown.remote(wait=False))
    while True:
        try:
            ray.get(controller.check_alive.remote(), timeout=5)
        except (ray.exceptions.GetTimeoutError, ray.exceptions.ActorUnavailableError):
            pass  # it is busy, and not gone
        except ray.exceptions.RayError:
            return
        time.sleep(0.1)


def listen_on_node_address() -> None:
    """Bind a replica's internal gRPC server to the node's own address; Serve 2.60 binds it to every interface."""
    import ray

    replica = _replica_of_serve()

    add_port = replica.add_port_to_grpc_server

    def add_port_of_node(server: object, address: str) -> object:
        node = ray.util.get_node_ip_address()
        return add_port(server, address.replace("[::]", f"[{node}]" if ":" in node else node))

    replica.add_port_to_grpc_server = add_port_of_node


def _replica_of_serve() -> Any:
    """The module of Ray Serve, which would import pandas only to know its tables if one were to be encoded as JSON.

    That takes each process 0.4 s of a core and 66 MB. Code that imports pandas later finds it.
    """
    is_there = "pandas" in sys.modules
    sys.modules.setdefault("pandas", None)  # type: ignore[arg-type]  # Python's own way to say: not there
    try:
        from ray.serve._private import replica
    finally:
        if not is_there:
            del sys.modules["pandas"]
    return replica
