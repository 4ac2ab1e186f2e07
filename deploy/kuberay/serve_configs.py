"""Writes the overlays' `serve-config.yaml` from the repository's configurations.

python deploy/kuberay/serve_configs.py
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
OVERLAYS: Final = {
    # which configuration, and how many ingress replicas, each on a node of its own
    "cpu": ("serve_config.yaml", 1),
    "gpu": ("serve_config.gpu.yaml", 1),
    "gpus": ("serve_config.gpu.yaml", 2),
}


def serve_config(overlay: str) -> dict[str, Any]:
    """What Serve on Kubernetes is given: the same application, on every node that has a replica of it."""
    name, ingresses = OVERLAYS[overlay]
    config: dict[str, Any] = copy.deepcopy(yaml.safe_load((ROOT / name).read_text()))
    config["proxy_location"] = "EveryNode"
    config["http_options"]["host"] = "0.0.0.0"  # noqa: S104 - of the pod; the NetworkPolicy says who comes through
    (application,) = config["applications"]
    # A share of a core keeps both off the head, which has none to give and answers no requests.
    application["deployments"] = [
        {"name": "ingress", "ray_actor_options": {"num_cpus": 0.1}},
        {"name": "search", "ray_actor_options": {"num_cpus": 0.1}},
    ]
    if ingresses > 1:
        application["args"]["ingress"] = {"replicas": ingresses}
        application["deployments"][0]["max_replicas_per_node"] = 1
    return config


def patch(overlay: str) -> str:
    """The overlay's patch, as its file holds it."""
    config = yaml.safe_dump(serve_config(overlay), sort_keys=False, allow_unicode=True, width=110)
    indented = "".join(f"    {line}" for line in config.splitlines(keepends=True))
    return (
        f"# Written by deploy/kuberay/serve_configs.py from {OVERLAYS[overlay][0]}, which has the reasons.\n"
        "apiVersion: ray.io/v1\nkind: RayService\nmetadata:\n  name: atelier\nspec:\n  serveConfigV2: |\n"
        f"{indented}"
    )


if __name__ == "__main__":
    for each in OVERLAYS:
        (Path(__file__).parent / "overlays" / each / "serve-config.yaml").write_text(patch(each))
