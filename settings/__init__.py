"""Everything that can be configured.

The values stand under `args:` of the application in `serve_config.yaml`; environment variables override them. A wrong
key, type or value raises `ConfigurationError`, whose text is one line that names the key, the value and what is
allowed.
"""

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
