"""`atelier check`: whether configuration files would start, without starting anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

import settings
from cli.configuration import serve_configuration
from cli.environment import MISTAKE, ROOT
from cli.outputs import ResultAsJson
from cli.up import fail


def check(
    configs: Annotated[list[Path] | None, typer.Argument(help="Serve configuration files; the default one.")] = None,
    as_json: ResultAsJson = False,
) -> None:
    """Check configuration files, and the environment over them; the first mistake is shown in one line."""
    for config in configs or [ROOT / "serve_config.yaml"]:
        try:
            models = settings.load(config, os.environ).models
            serve_configuration(config)
        except settings.ConfigurationError as error:
            fail(str(error), status=MISTAKE)
        if as_json:
            print(json.dumps({"config": str(config), "models": list(models)}))
        else:
            print(f"{config}: {len(models)} models")
