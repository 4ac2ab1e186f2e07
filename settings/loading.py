"""Settings from a file and the environment, with every mistake in one line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from models.mistakes import first_mistake, shape_mistakes
from settings.environment import merge_environment
from settings.errors import ConfigurationError
from settings.schema import Settings

Schema = TypeVar("Schema", bound=BaseModel)


def validate(args: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `args:` with the environment's overrides.

    Raises:
        ConfigurationError: one line that names the key (or the variable), the value and what is allowed.
    """
    merged, named = merge_environment(args, environ)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError(first_mistake(error, Settings, variables=named)) from None


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in a Serve configuration file: `args:` of its first application.

    Raises:
        ConfigurationError: the file is missing, is not YAML, has no application, or its `args:` have a mistake.
    """
    document = _document(path)
    applications = document.get("applications") if isinstance(document, dict) else None
    if not isinstance(applications, list) or not applications or not isinstance(applications[0], dict):
        raise ConfigurationError(f"{path}: has no `applications:` list, as `serve run` needs")
    args = applications[0].get("args")
    if not isinstance(args, dict):
        raise ConfigurationError(f"{path}: applications[0].args: is {args!r}; a mapping with `models:` is needed")
    try:
        return validate(args, environ)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def load_as(schema: type[Schema], path: Path) -> Schema:
    """The whole file by another schema, Ray Serve's say; what that would pass over in silence is refused too.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or has a mistake.
    """
    document = _document(path)
    for mistake in shape_mistakes(document, schema):
        raise ConfigurationError(f"{path}: {mistake}")
    try:
        return schema.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {first_mistake(error, schema)}") from None
    except (AttributeError, TypeError) as error:  # Serve's own validators trip over types that they do not expect
        raise ConfigurationError(f"{path}: {error}") from None


def _document(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}: is not valid YAML{where}: {getattr(error, 'problem', error)}") from None
