"""Everything that can be configured.

The values stand under `args:` of the application in `serve_config.yaml`; environment variables override them. A wrong
key, type or value raises `ConfigurationError`, whose text is one line that names the key, the value and what is
allowed.

What is used is imported then: the schema brings the catalogue of engines, and numpy, which a command that only asks a
server need not wait for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from settings.environment import is_service_address, memory_for_models, variable
    from settings.errors import ConfigurationError
    from settings.loading import load, load_as, validate
    from settings.schema import Settings
    from settings.sections import Omni, Prompts
    from settings.values import time_zone

__all__ = [
    "ConfigurationError",
    "Omni",
    "Prompts",
    "Settings",
    "is_service_address",
    "load",
    "load_as",
    "memory_for_models",
    "time_zone",
    "validate",
    "variable",
]

_MODULES = {
    "environment": ("is_service_address", "memory_for_models", "variable"),
    "errors": ("ConfigurationError",),
    "loading": ("load", "load_as", "validate"),
    "schema": ("Settings",),
    "sections": ("Omni", "Prompts"),
    "values": ("time_zone",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
