"""What stands outside `args:`, in Ray Serve's own words: typos are refused, and options of what is switched off go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from ray.serve.handle import DeploymentHandle

import graph
import settings
from cli.configuration import serve_configuration
from cli.environment import ROOT
from deployments.ingress.calls.model_calls import ModelCalls
from models.kinds import Kind
from settings import ConfigurationError


def written(folder: Path, application: dict[str, Any] | None = None, **top: object) -> Path:
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    document["applications"][0].update(application or {})
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump({**document, **top}))
    return path


@pytest.mark.parametrize("name", ["serve_config.yaml", "serve_config.gpu.yaml", "serve_config.mac.yaml"])
def test_the_shipped_configurations_are_valid(name: str) -> None:
    assert serve_configuration(ROOT / name).http_options.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("application", "top", "said"),
    [
        ({}, {"http_option": {}}, "http_option: unknown key; allowed here: proxy_location, http_options,"),
        ({}, {"http_options": {"prot": 8000}}, "http_options.prot: unknown key; allowed here: host, port,"),
        ({}, {"http_options": [8000]}, "http_options: [8000]: a mapping is needed; its keys may be host, port,"),
        ({}, {"proxy_location": "Here"}, "proxy_location: 'Here': input should be 'Disabled', 'HeadOnly' or"),
        ({"deployment": []}, {}, "applications.0.deployment: unknown key; allowed here: name, route_prefix,"),
        ({"deployments": 5}, {}, "applications.0.deployments: 5: input should be a valid list"),
        ({"deployments": ["clip"]}, {}, "applications.0.deployments.0: 'clip': a mapping is needed; its keys may be"),
        (
            {"deployments": [{"name": "clip", "num_replica": 2}]},
            {},
            "applications.0.deployments.0.num_replica: unknown key; allowed here: name, num_replicas,",
        ),
        (
            {"deployments": [{"name": "clip", "ray_actor_options": {"num_gpu": 1}}]},
            {},
            "applications.0.deployments.0.ray_actor_options.num_gpu: unknown key; allowed here: runtime_env, num_cpus,",
        ),
        (
            {"deployments": [{"name": "clip", "autoscaling_config": {"max_replica": 2}}]},
            {},
            "applications.0.deployments.0.autoscaling_config.max_replica: unknown key; allowed here: min_replicas,",
        ),
        ({"runtime_env": {"working_dir": 5}}, {}, "must be a string"),
        (
            {"deployments": [{"name": "ingress", "num_replicas": 2}]},
            {},
            "deployments.ingress: its number is `ingress: {replicas: N}` under `args`",
        ),
        (
            {"deployments": [{"name": "ingress", "autoscaling_config": {"max_replicas": 2}}]},
            {},
            "allowed here: neither num_replicas nor autoscaling_config",
        ),
    ],
)
def test_a_mistake_outside_args_is_one_line(
    application: dict[str, Any], top: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        serve_configuration(written(tmp_path, application, **top))
    assert str(caught.value).startswith(f"{tmp_path / 'changed.yaml'}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["serve_config.yaml", "serve_config.gpu.yaml", "serve_config.mac.yaml"])
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("image", ["schnell", "dev", "flux", "flux-1-dev", "dall-e-3", "gpt-image-1", "chatgpt-image-latest"]),
        ("vlm", ["gpt-4o", "chatgpt-4o-latest", "o1", "o3-mini", "o4-mini", "claude-sonnet-4-5", "gemma"]),
        ("voice", ["tts-1", "gpt-4o-mini-tts"]),
        ("clip", ["text-embedding-3-small"]),
    ],
)
def test_names_that_clients_send_lead_to_a_model_of_their_kind(name: str, kind: Kind, names: list[str]) -> None:
    configured = settings.load(ROOT / name, {})
    models = ModelCalls(configured, dict.fromkeys(configured.models, cast("DeploymentHandle", None)))
    for asked in names:
        assert configured.models[models.resolve(asked, [kind])].kind == kind


def test_options_of_what_the_environment_switches_off_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [{"name": name, "ray_actor_options": {"num_cpus": 1}} for name in ("ingress", "search", "clip", "voice")]
    path = written(tmp_path, {"deployments": options})

    def named() -> list[str]:
        return [each.name for each in serve_configuration(path).applications[0].deployments]

    assert named() == ["ingress", "search", "clip", "voice"]
    monkeypatch.setenv("VOICE_ENABLED", "0")
    assert named() == ["ingress", "search", "clip"]
    monkeypatch.setenv("IMAGE_SEARCH_ENABLED", "0")
    assert named() == ["ingress"]


def test_a_model_for_one_kind_of_gpu_is_given_to_ray_with_its_label() -> None:
    document = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    args = document["applications"][0]["args"] | {"image_search_enabled": False}
    args["models"]["image-gen"] |= {"accelerator": "H100"}
    models = graph.build(args)._bound_deployment.init_args[1]
    picture, voice = (models[alias]._bound_deployment for alias in ("image-gen", "voice"))
    assert picture.ray_actor_options["label_selector"] == {"ray.io/accelerator-type": "H100"}
    assert not voice.ray_actor_options["label_selector"]


def test_there_are_as_many_ingress_replicas_as_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    args = yaml.safe_load((ROOT / "serve_config.yaml").read_text())["applications"][0]["args"]
    assert graph.build(args)._bound_deployment.num_replicas == 1
    args["ingress"] = {"replicas": 3}
    with pytest.raises(ConfigurationError, match="no REDIS_URL"):
        graph.build(args)
    bucket = {"R2_ENABLED": "1", "R2_ENDPOINT_URL": "http://127.0.0.1:9", "R2_BUCKET_NAME": "b"}
    keys = {"R2_ACCESS_KEY_ID": "id", "R2_SECRET_ACCESS_KEY": "secret"}
    stores = {"REDIS_URL": "redis://127.0.0.1/0", "SEARCH_DATABASE_URL": "postgresql://127.0.0.1/atelier"}
    for name, value in {**bucket, **keys, **stores}.items():
        monkeypatch.setenv(name, value)
    assert graph.build(args)._bound_deployment.num_replicas == 3
