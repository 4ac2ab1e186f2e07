"""What the command uses of the insides of Ray and Ray Serve, which no document promises.

Everything of that kind stands here or in deployments/serve_internals.py (tests/cli/test_ray_internals.py,
docs/upgrading.md). Nothing is imported at the top: every Ray worker imports this module first.
"""

import sys
import time
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

    A machine that is just waking, or busy, takes longer; Ray has no setting for it.

    Raises:
        Exception: what `ray.init` raises, at the second try too when it was that.
    """
    import ray

    try:
        return ray.init(**options)
    except Exception as error:
        if NODE_IS_LATE not in str(error):
            raise
        ray.shutdown()
        return ray.init(**options)


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
    try:
        while True:
            ray.get(controller.check_alive.remote(), timeout=5)
            time.sleep(0.1)
    except ray.exceptions.RayError:
        pass


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
