"""The insides of Ray and Ray Serve that are relied upon are still there, and still mean the same."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from dataclasses import fields

import pytest
from fastapi import APIRouter, FastAPI
from ray.experimental import internal_kv
from ray.serve._private import constants
from ray.serve._private.client import ServeControllerClient
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve._private.controller import ServeController
from ray.serve._private.deployment_scheduler import (
    DeploymentDownscaleRequest,
    DeploymentScheduler,
    SpreadDeploymentSchedulingPolicy,
)
from ray.serve._private.direct_ingress_http_util import ASGIDIReceiveProxy
from ray.serve.context import _get_serve_request_context, _RequestContext, _serve_request_context
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import (
    ApplicationDetails,
    DeploymentDetails,
    DeploymentStatus,
    ReplicaDetails,
    ServeInstanceDetails,
)
from starlette.types import Message

from deployments import serve_internals


def test_the_controller_is_asked_for_what_serve_itself_asks_it() -> None:
    assert "_controller.get_serve_instance_details.remote()" in inspect.getsource(
        ServeControllerClient.get_serve_details
    )
    assert callable(ServeController.get_serve_instance_details)


def test_the_controllers_answer_has_the_parts_that_are_read() -> None:
    assert "applications" in ServeInstanceDetails.model_fields
    assert "deployments" in ApplicationDetails.model_fields
    assert {"status", "replicas"} <= DeploymentDetails.model_fields.keys()
    assert {"replica_id", "state"} <= ReplicaDetails.model_fields.keys()
    assert {"DEPLOY_FAILED", "UNHEALTHY"} <= {each.value for each in DeploymentStatus}


def test_work_that_outlives_its_request_keeps_its_id_for_people_and_loses_the_one_that_serve_cancels_by() -> None:
    assert {"request_id", "_internal_request_id"} <= {each.name for each in fields(_RequestContext)}
    token = _serve_request_context.set(_RequestContext(request_id="for-people", _internal_request_id="for-serve"))
    try:
        context = serve_internals.context_outliving_the_request()
        assert _get_serve_request_context()._internal_request_id == "for-serve"
    finally:
        _serve_request_context.reset(token)
    outliving = context.run(_get_serve_request_context)
    assert (outliving.request_id, outliving._internal_request_id) == ("for-people", "")


@pytest.fixture
def scheduler() -> Iterator[DeploymentScheduler]:
    """Serve's, which knows three replicas of a deployment on two nodes and one that starts."""

    class Nodes:
        def get_node_labels(self, node: str) -> dict[str, str]:
            return {}

    made = DeploymentScheduler(Nodes(), "head", lambda _: None)
    made.on_deployment_created(OF_A, SpreadDeploymentSchedulingPolicy())
    for name, node in (("old", "head"), ("lonely", "other"), ("new", "head")):
        made.on_replica_running(ReplicaID(name, OF_A), node)
    made.on_replica_recovering(ReplicaID("starts", OF_A))
    yield made
    serve_internals.stop_first([])


OF_A = DeploymentID("a", "atelier")


@pytest.mark.parametrize(
    ("chosen", "number", "stopped"),
    [
        ([], 1, {"starts"}),
        ([], 2, {"starts", "lonely"}),
        (["old"], 1, {"old"}),
        (["old"], 2, {"old", "starts"}),
        (["old", "new"], 2, {"old", "new"}),
        (["old", "new"], 3, {"old", "new", "starts"}),
        (["another's"], 2, {"starts", "lonely"}),
    ],
)
def test_serve_stops_the_replicas_that_were_chosen_and_by_its_own_choice_what_is_missing(
    scheduler: DeploymentScheduler, chosen: list[str], number: int, stopped: set[str]
) -> None:
    serve_internals.stop_first(chosen)
    request = {OF_A: DeploymentDownscaleRequest(OF_A, number)}
    found = scheduler.schedule({}, request)[OF_A]
    assert {each.unique_id for each in found} == stopped


def test_a_test_is_no_replica() -> None:
    assert not serve_internals.is_in_replica()


def test_rays_key_value_store_takes_what_the_store_of_notes_gives_it() -> None:
    for name, given in {
        "_internal_kv_put": {"key", "value", "overwrite", "namespace"},
        "_internal_kv_get": {"key", "namespace"},
        "_internal_kv_del": {"key", "namespace"},
        "_internal_kv_list": {"prefix", "namespace"},
    }.items():
        assert given <= inspect.signature(getattr(internal_kv, name)).parameters.keys()


def test_a_request_has_the_id_and_route_that_it_is_given_in_every_line_of_the_log() -> None:
    logger = logging.getLogger("ray.serve")
    before, token = list(logger.filters), _serve_request_context.set(_RequestContext())
    try:
        serve_internals.log_request_ids()
        serve_internals.log_request_ids()
        assert len(logger.filters) <= len(before) + 1
        serve_internals.begin_request("for-people", "/v1/models")
        record = logger.makeRecord("ray.serve", logging.INFO, __file__, 1, "a line", (), None)
        assert logger.filter(record)
        assert (vars(record)["request_id"], vars(record)["route"]) == ("for-people", "/v1/models")
    finally:
        _serve_request_context.reset(token)
        logger.filters = before


def test_the_template_of_a_route_is_found_below_a_prefix() -> None:
    app = FastAPI()
    router = APIRouter(prefix="/v1")
    router.add_api_route("/models/{model:path}", lambda: None)
    app.include_router(router)
    scope = {"type": "http", "method": "GET", "path": "/v1/models/a/b", "root_path": "", "headers": []}
    assert serve_internals.route_template(app, scope) == "/v1/models/{model:path}"
    assert serve_internals.route_template(app, {**scope, "path": "/elsewhere"}) is None


@pytest.fixture
def paced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", False)
    monkeypatch.setattr(ASGIDIReceiveProxy, "queue", ASGIDIReceiveProxy.queue)  # put back at the end
    serve_internals.read_bodies_as_they_are_asked_for()


class Connection:
    """What the HTTP server has received of a request whose client leaves at the end."""

    def __init__(self, *pieces: bytes) -> None:
        self.messages: list[Message] = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
        self.messages += [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]
        self.taken = 0

    async def receive(self) -> Message:
        self.taken += 1
        return self.messages[self.taken - 1]


@pytest.mark.usefixtures("paced")
async def test_a_body_is_read_as_the_application_asks_for_it_and_a_client_that_leaves_is_noticed() -> None:
    connection = Connection(*(bytes(70_000) for _ in range(100)))
    proxy = ASGIDIReceiveProxy({"type": "http"}, connection.receive, asyncio.get_running_loop())
    fetching = proxy.fetch_until_disconnect_task()
    for _ in range(300):
        await asyncio.sleep(0)
    assert connection.taken == 1
    assert [await proxy() for _ in range(100)] == connection.messages[:100]
    await asyncio.wait_for(fetching, 1)  # with what is left unread: an end, and that the client has left
    assert [await proxy() for _ in range(3)] == [*connection.messages[100:], {"type": "http.disconnect"}]


@pytest.mark.usefixtures("paced")
async def test_a_client_that_leaves_is_noticed_behind_a_small_body_that_nobody_reads() -> None:
    connection = Connection(b"head", bytes(10_000))
    proxy = ASGIDIReceiveProxy({"type": "http"}, connection.receive, asyncio.get_running_loop())
    await asyncio.wait_for(proxy.fetch_until_disconnect_task(), 1)
    assert [await proxy() for _ in range(4)] == connection.messages


async def test_bytes_are_passed_by_value_where_there_is_no_object_store() -> None:
    args = ("p", bytes(2**21))
    handle = object()
    assert await serve_internals.pass_large(handle, args) == (handle, args)


def test_a_handle_may_pass_objects_of_rays_store() -> None:
    assert "_by_reference" in inspect.signature(DeploymentHandle.options).parameters
