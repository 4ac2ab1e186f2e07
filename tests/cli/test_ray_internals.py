"""The insides of Ray Serve that the command relies upon are still there, and still mean the same."""

from __future__ import annotations

import inspect
import re
from unittest.mock import Mock

import pytest
import ray
from ray._private import node
from ray.serve._private import replica
from ray.serve._private.api import serve_start
from ray.serve._private.client import ServeControllerClient
from ray.serve._private.controller import ServeController

from cli import ray_internals


def test_a_node_that_is_late_is_given_a_second_try_and_any_other_mistake_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ray_internals.NODE_IS_LATE in re.sub(r'"\s+"', "", inspect.getsource(node.Node.__init__))
    begun = Mock(side_effect=[Exception(f"{ray_internals.NODE_IS_LATE} This could happen …"), "context"])
    monkeypatch.setattr(ray, "init", begun)
    assert ray_internals.init(address="local") == "context"
    assert [each.kwargs for each in begun.call_args_list] == [{"address": "local"}] * 2
    begun.side_effect = ValueError("no such place")
    with pytest.raises(ValueError, match="no such place"):
        ray_internals.init(address="local")
    assert begun.call_count == 3


def test_no_log_monitor_is_started_for_a_driver_that_prints_no_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "self.start_log_monitor()" in inspect.getsource(node.Node.start_ray_processes)
    start = node.Node.start_log_monitor
    monkeypatch.setattr(node.Node, "start_log_monitor", start)
    monkeypatch.setattr(ray, "init", Mock())
    ray_internals.init(address="local")
    assert node.Node.start_log_monitor is start
    ray_internals.init(address="local", log_to_driver=False)
    assert node.Node.start_log_monitor is not start


def test_serve_is_started_with_what_it_takes() -> None:
    taken = inspect.signature(serve_start).parameters.keys()
    assert {"http_options", "proxy_location", "grpc_options", "controller_options"} <= taken


def test_the_controller_ends_gracefully_and_says_whether_it_is_there() -> None:
    assert "wait" in inspect.signature(ServeController.graceful_shutdown).parameters
    assert callable(ServeController.check_alive)
    assert "self._controller.graceful_shutdown.remote(" in inspect.getsource(ServeControllerClient.shutdown)


def test_a_replica_opens_its_port_by_the_function_that_is_replaced() -> None:
    """That the port is on the node's own address only is seen in tests/test_launch.py, of the running server."""
    assert callable(replica.add_port_to_grpc_server)
    assert "add_port_to_grpc_server(" in inspect.getsource(replica)
