"""What every Ray worker does before it runs anything of ours."""

import sys
from typing import Any


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
