"""The manifests for Kubernetes: built by kubectl, held against KubeRay's own schema, Serve's and ours."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from ray import __version__ as ray_version
from ray.serve.schema import ServeDeploySchema

import settings
from cli.environment import ROOT

FOLDER = ROOT / "deploy" / "kuberay"
OVERLAYS = ("cpu", "gpu", "gpus")
KUBECTL = Path(sys.executable).with_name("kubectl")

SECRET = {
    "REDIS_URL": "redis://redis/0",
    "SEARCH_DATABASE_URL": "postgresql://postgres/atelier",
    "R2_ENABLED": "1",
    "R2_ACCOUNT_ID": "abc123",
    "R2_ACCESS_KEY_ID": "an-id",
    "R2_SECRET_ACCESS_KEY": "a-secret",
    "R2_BUCKET_NAME": "pictures",
}
"""What several ingress replicas need of the Secret."""


@cache
def built(overlay: str) -> dict[str, dict[str, Any]]:
    """The overlay's objects, by kind and name."""
    command = [str(KUBECTL), "kustomize", str(FOLDER / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # no field that is going out of use
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(done.stdout)}


def spec(overlay: str) -> dict[str, Any]:
    found: dict[str, Any] = built(overlay)["RayService/atelier"]["spec"]
    return found


def cluster(overlay: str) -> dict[str, Any]:
    found: dict[str, Any] = spec(overlay)["rayClusterConfig"]
    return found


def templates(overlay: str) -> list[dict[str, Any]]:
    groups = [cluster(overlay)["headGroupSpec"], *cluster(overlay)["workerGroupSpecs"]]
    return [group["template"] for group in groups]


def closed(schema: Any) -> Any:
    """The schema, refusing the fields that it does not name: the API server would drop them without a word."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


SCHEMA = closed(json.loads((Path(__file__).parent / "schemas" / "kuberay-1.7-rayservice.json").read_text()))


def part(*path: str) -> Draft202012Validator:
    """The validator of a part of the schema."""
    found = SCHEMA
    for step in path:
        while "$ref" in found:
            found = SCHEMA["$defs"][found["$ref"].removeprefix("#/$defs/")]
        found = found["items"] if step == "[]" else found["properties"][step]
    return Draft202012Validator({**found, "$defs": SCHEMA["$defs"]})


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kuberay_takes_the_ray_service(overlay: str) -> None:
    Draft202012Validator(SCHEMA).validate(spec(overlay))
    wrong = {**spec(overlay), "upgradeStrategie": {"type": "NewCluster"}}
    with pytest.raises(ValidationError, match="upgradeStrategie"):
        Draft202012Validator(SCHEMA).validate(wrong)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_the_claims_and_the_network_policy(overlay: str) -> None:
    """By the same types where a RayService has them inside."""
    volumes = ("rayClusterConfig", "headGroupSpec", "template", "spec", "volumes", "[]")
    claim = part(*volumes, "ephemeral", "volumeClaimTemplate", "spec")
    names = {each.removeprefix("PersistentVolumeClaim/") for each in built(overlay) if each.startswith("Persistent")}
    for name in names:
        claim.validate(built(overlay)[f"PersistentVolumeClaim/{name}"]["spec"])
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for template in templates(overlay)
        for volume in template["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert used == names
    rules = part("rayClusterConfig", "networkPolicy", "head", "ingressRules", "[]")
    for rule in built(overlay)["NetworkPolicy/atelier"]["spec"]["ingress"]:
        rules.validate(rule)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_serve_and_the_settings_take_the_configuration(overlay: str, tmp_path: Path) -> None:
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec(overlay)["serveConfigV2"]))
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", 8000)
    (application,) = config.applications
    assert application.import_path == "graph:build"
    file = tmp_path / "serve.yaml"
    file.write_text(spec(overlay)["serveConfigV2"])
    configured = settings.load(file, SECRET if overlay == "gpus" else {})
    own = "serve_config.yaml" if overlay == "cpu" else "serve_config.gpu.yaml"
    assert configured.models == settings.load(ROOT / own, {}).models


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_overlays_have_the_configurations_of_the_repository(overlay: str) -> None:
    loaded = importlib.util.spec_from_file_location("serve_configs", FOLDER / "serve_configs.py")
    assert loaded
    assert loaded.loader
    module = importlib.util.module_from_spec(loaded)
    loaded.loader.exec_module(module)
    written = (FOLDER / "overlays" / overlay / "serve-config.yaml").read_text()
    assert written == module.patch(overlay), "run: python deploy/kuberay/serve_configs.py"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_head_serves_nothing_and_ray_asks_for_its_token(overlay: str) -> None:
    assert cluster(overlay)["rayVersion"] == ray_version
    assert cluster(overlay)["authOptions"] == {"mode": "token"}
    assert cluster(overlay)["autoscalerOptions"]["version"] == "v2"
    assert spec(overlay)["excludeHeadPodFromServeSvc"] is True
    head = cluster(overlay)["headGroupSpec"]["rayStartParams"]
    assert head["num-cpus"] == "0"
    # so small that no model fits, which ask for memory and for no core
    for name in ("serve_config.yaml", "serve_config.gpu.yaml"):
        for alias, entry in settings.load(ROOT / name, {}).models.items():
            assert entry.gpus or (entry.memory or 2**30) > int(head["memory"]), alias
    deployments = yaml.safe_load(spec(overlay)["serveConfigV2"])["applications"][0]["deployments"]
    assert all(each["ray_actor_options"]["num_cpus"] > 0 for each in deployments)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_no_privileges_their_keys_and_shared_memory(overlay: str) -> None:
    for template in templates(overlay):
        pod = template["spec"]
        (container,) = pod["containers"]
        assert pod["restartPolicy"] == "Never"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        # else Serve, without HAProxy, opens its port on the head alone, which is not behind the Service
        assert {"name": "RAY_SERVE_ENABLE_DIRECT_INGRESS", "value": "0"} in container["env"]
        assert container["envFrom"] == [{"secretRef": {"name": "atelier"}}]  # not optional: no open server by mistake
        assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    for group in cluster(overlay)["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 8000}


def test_from_outside_only_the_servers_port_is_open() -> None:
    policy = built("cpu")["NetworkPolicy/atelier"]["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    to_all = [rule for rule in policy["ingress"] if "from" not in rule]
    assert to_all == [{"ports": [{"port": 8000, "protocol": "TCP"}]}]
    for template in templates("gpus"):
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "atelier"
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/part-of"] == "atelier"


def test_the_overlays_differ_in_their_workers() -> None:
    assert [each["groupName"] for each in cluster("cpu")["workerGroupSpecs"]] == ["cpu"]
    (gpu,) = cluster("gpu")["workerGroupSpecs"]
    assert gpu["maxReplicas"] == 1
    assert gpu["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec("gpu")["upgradeStrategy"] == {"type": "None"}
    assert spec("gpus")["upgradeStrategy"] == {"type": "NewCluster"}
    assert [each["groupName"] for each in cluster("gpus")["workerGroupSpecs"]] == ["cpu", "gpu"]
    assert built("gpus")["PersistentVolumeClaim/atelier-state"]["spec"]["accessModes"] == ["ReadWriteMany"]
