"""What every Ray worker does before it runs anything of ours."""


def listen_on_node_address() -> None:
    """Bind a replica's internal gRPC server to the node's own address; Serve 2.60 binds it to every interface."""
    import ray
    from ray.serve._private import replica

    add_port = replica.add_port_to_grpc_server

    def add_port_of_node(server: object, address: str) -> object:
        node = ray.util.get_node_ip_address()
        return add_port(server, address.replace("[::]", f"[{node}]" if ":" in node else node))

    replica.add_port_to_grpc_server = add_port_of_node
