"""The insides of Ray and Ray Serve that are relied upon are still there, and still mean the same."""

from __future__ import annotations

import inspect
from dataclasses import fields

from ray.experimental import internal_kv
from ray.serve._private.client import ServeControllerClient
from ray.serve._private.controller import ServeController
from ray.serve.context import _get_serve_request_context, _RequestContext, _serve_request_context
from ray.serve.schema import (
    ApplicationDetails,
    DeploymentDetails,
    DeploymentStatus,
    ReplicaDetails,
    ServeInstanceDetails,
)

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
