"""The Serve configuration file: `args:` checked by `settings`, everything else as strictly by Serve's own schema."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import settings

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

RESIDENCY = "deployments.residency:Residency"


def serve_configuration(path: Path) -> ServeDeploySchema:
    """What the file and the environment over it say.

    Raises:
        ConfigurationError: in one line.
    """
    from ray.serve.schema import ServeDeploySchema  # 0.8 s of a core, which no other command is to pay for

    configured = settings.load(path, os.environ)
    config: ServeDeploySchema = settings.load_as(ServeDeploySchema, path)
    # Serve refuses options of what is not deployed, and the environment may switch off what the file has options of.
    application = config.applications[0]
    _check_ingress(path, config, configured)
    # A file from elsewhere, or from before, would have models leave as soon as they are idle.
    application.autoscaling_policy = application.autoscaling_policy or {"policy_function": RESIDENCY}
    application.deployments = [each for each in application.deployments if not is_switched_off(each.name, configured)]
    return config


def is_switched_off(deployment: str, configured: settings.Settings) -> bool:
    """Whether a deployment is known and left out."""
    if deployment == "search":
        return not configured.image_search_enabled
    return deployment in configured.models and not configured.is_deployed(deployment)


def _check_ingress(path: Path, config: ServeDeploySchema, configured: settings.Settings) -> None:
    """Refuse ingress replicas that would not know that they share anything."""
    for each in config.applications[0].deployments:
        if each.name != "ingress":
            continue
        given = each.model_dump(exclude_unset=True)
        if "autoscaling_config" in given or given.get("num_replicas", 1) not in (1, configured.ingress.replicas):
            raise settings.ConfigurationError(
                f"{path}: deployments.ingress: its number is `ingress: {{replicas: N}}` under `args`, so that replicas "
                "share what they know; allowed here: neither num_replicas nor autoscaling_config"
            )
