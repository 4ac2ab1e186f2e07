"""The environment variables over a configuration file (docs/configuration.md)."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from models.entry import ModelEntry
from settings.errors import ConfigurationError
from settings.values import split_keys

logger = logging.getLogger(__name__)

VARIABLES = {
    "ATELIER_HOME": "home",
    "ATELIER_INGRESS_REPLICAS": "ingress.replicas",
    "ATELIER_LEAST_FREE_BYTES": "least_free_bytes",
    "ATELIER_PUBLIC_URL": "public_url",
    "ATELIER_TRUSTED_PROXIES": "trusted_proxies",
    "ATELIER_TIMEZONE": "timezone",
    "BEARER_TOKEN": "bearer_token",
    "FILE_SERVER": "file_server",
    "PUBLIC_FILES": "public_files",
    "FILES_MAX_AGE_DAYS": "files.max_age_days",
    "FILES_MAX_BYTES": "files.max_bytes",
    "RESPONSES_MAX_AGE_DAYS": "responses.max_age_days",
    "RESPONSES_MAX_BYTES": "responses.max_bytes",
    "R2_ENABLED": "r2.enabled",
    "R2_ACCOUNT_ID": "r2.account_id",
    "R2_ENDPOINT_URL": "r2.endpoint_url",
    "R2_ACCESS_KEY_ID": "r2.access_key_id",
    "R2_SECRET_ACCESS_KEY": "r2.secret_access_key",
    "R2_BUCKET_NAME": "r2.bucket_name",
    "IMAGE_REMOTE_PREFIX": "image_prefix",
    "VOICE_REMOTE_PREFIX": "voice_prefix",
    "VOICE_SHARED": "voice_shared",
    "VOICE_MARKED": "voice_marked",
    "ATELIER_STRICT": "strict",
    "ATELIER_API_KEYS": "api_keys",
    "ATELIER_ADMIN_KEYS": "admin_keys",
    "ATELIER_KEYS_FILE": "keys_file",
    "ATELIER_RATE": "limits.rate",
    "ATELIER_CONCURRENCY": "limits.concurrency",
    "ATELIER_START_TIMEOUT": "start_timeout",
    "ATELIER_QUEUE_TIMEOUT": "queue_timeout",
    "IDLE_TIMEOUT": "idle_timeout",
    "MODEL_CAPACITY": "residency.capacity",
    "MAX_REQUESTS": "residency.max_requests",
    "IMAGE_MAX_BYTES": "image_max_bytes",
    "IMAGE_MAX_PIXELS": "image_max_pixels",
    "MAX_CONTENT_LENGTH": "max_content_length",
    "ATELIER_BODIES_MAX_BYTES": "bodies_max_bytes",
    "ATELIER_IDEMPOTENCY_MAX_BYTES": "idempotency_max_bytes",
    "ATELIER_ALLOW_REMOTE_IMAGES": "allow_remote_images",
    "ATELIER_REMOTE_IMAGE_HOSTS": "remote_image_hosts",
    "ATELIER_CORS_ORIGINS": "cors_origins",
    "ATELIER_LOG_FORMAT": "log_format",
    "REDIS_URL": "cache.redis_url",
    "REDIS_HOST": "cache.redis_host",
    "REDIS_PORT": "cache.redis_port",
    "REDIS_DB": "cache.redis_db",
    "CACHE_TTL_SECONDS": "cache.ttl_seconds",
    "IMAGE_ENABLED": "image_enabled",
    "IMAGE_SEARCH_ENABLED": "image_search_enabled",
    "VOICE_ENABLED": "voice_enabled",
    "ATELIER_PROMPT_API_KEY": "prompts.api_key",
    "ATELIER_PROMPT_BASE_URL": "prompts.base_url",
    "ATELIER_PROMPT_MODEL": "prompts.model",
    "IMAGE_SEARCH_DB_PATH": "search.database",
    "IMAGE_SEARCH_FILES_DIR": "search.files",
    "IMAGE_SEARCH_REMOTE_PREFIX": "search.prefix",
    "SEARCH_DATABASE_URL": "search.database_url",
    "IMAGE_SEARCH_DB_R2_KEY": "search.backup_key",
    "IMAGE_SEARCH_DB_BACKUP_ENABLED": "search.backup_enabled",
    "IMAGE_SEARCH_DB_BACKUP_INTERVAL_SECONDS": "search.backup_interval_seconds",
    "IMAGE_SEARCH_MAX_BYTES": "search.max_bytes",
    "IMAGE_SEARCH_MAX_ELEMENTS": "search.max_elements",
}
"""Variable: the path of the setting that it overrides."""
_MORE_KEYS = {"GATEWAY_API_KEY": "api_keys", "API_KEY": "admin_keys"}
_OPENAI = {
    "OPENAI_API_KEY": "prompts.api_key",
    "OPENAI_BASE_URL": "prompts.base_url",
    "OPENAI_PROMPT_MODEL": "prompts.model",
}
"""Read with ATELIER_PROMPT_OPENAI=1 only: many shells have them for other programs."""
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+")


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a variable; None where it is not set, empty, or set by Kubernetes for a service of that name.

    Kubernetes gives every container `NAME_PORT=tcp://ADDRESS:PORT` for each service, so one that is called `redis` or
    `gateway` would set what is a plain number here. Docker's links do the same.
    """
    value = environ.get(name, "")
    if is_service_address(name, value):
        _note_ignored(name, value)
        return None
    return value or None


def is_service_address(name: str, value: str) -> bool:
    """Whether a variable is what Kubernetes or Docker says of a service, not a port number."""
    return name.endswith("PORT") and _SERVICE_ADDRESS.fullmatch(value) is not None


@cache
def _note_ignored(name: str, value: str) -> None:
    logger.warning("%s=%s is ignored: it is the address of a service (Kubernetes, Docker), not a port", name, value)


def merge_environment(args: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings of a file with those of the environment over them, and which variable each of these comes from.

    Raises:
        ConfigurationError: ATELIER_PROMPT_OPENAI is neither 1 nor 0, or there is no key for it.
    """
    merged: dict[str, Any] = {**args}
    named: dict[str, str] = {}
    for name, path in {**(_OPENAI if _may_ask_openai(environ) else {}), **VARIABLES}.items():
        if (value := variable(environ, name)) is not None:
            _set(merged, path, value)
            named[path] = name
    for name, path in _MORE_KEYS.items():
        if value := environ.get(name):
            others = split_keys(merged.get(path))
            merged[path] = [*others, value] if isinstance(others, (list, tuple)) else [value]
            named.setdefault(path, name)
    return merged, named


def _set(settings: dict[str, Any], path: str, value: str) -> None:
    """Set a value below a dict; the dicts on the way are copied, since they are the caller's."""
    *parents, last = path.split(".")
    for parent in parents:
        inner = settings.get(parent)
        settings[parent] = {**inner} if isinstance(inner, dict) else {}
        settings = settings[parent]
    settings[last] = value


def _may_ask_openai(environ: Mapping[str, str]) -> bool:
    value = environ.get("ATELIER_PROMPT_OPENAI", "")
    if value not in ("", "0", "1"):
        raise ConfigurationError(f"ATELIER_PROMPT_OPENAI: {value!r}: 1 or 0 is needed")
    if value == "1" and not environ.get("OPENAI_API_KEY"):
        raise ConfigurationError("ATELIER_PROMPT_OPENAI: 1 needs OPENAI_API_KEY, which is not set")
    return value == "1"


def memory_for_models(models: Mapping[str, ModelEntry], environ: Mapping[str, str] = os.environ) -> int | None:
    """Bytes of main memory that all models together may take (`ATELIER_MEMORY`); None: what Ray finds free.

    Raises:
        ConfigurationError: it is not a number of bytes, or too few for one of the models.
    """
    value = variable(environ, "ATELIER_MEMORY")
    if value is None:
        return None
    digits = value.replace("_", "")
    if not (digits.isascii() and digits.isdecimal() and int(digits) > 0):
        raise ConfigurationError(f"ATELIER_MEMORY: {value!r}: a number of bytes above 0 is needed, such as 16000000000")
    for alias, entry in models.items():
        if (entry.memory or 0) > int(digits):
            raise ConfigurationError(
                f"models.{alias}.memory: {entry.memory} is more than ATELIER_MEMORY; allowed: {digits} or less"
            )
    return int(digits)
