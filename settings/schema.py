"""Everything that can be configured, as one validated model: what `args:` of `serve_config.yaml` may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.catalog import check_checkpoint, check_options, embeds_pictures, engine_class
from models.entry import ModelEntry
from models.errors import CheckpointError
from models.kinds import Kind
from models.mistakes import first_mistake
from models.picture_files import MAX_PIXELS
from settings.sections import R2, Cache, Files, Ingress, Omni, Prompts, Residency, Responses, Search
from settings.values import FolderPrefix, HomePath, Key, Keys, Networks, Origins, ZoneName
from stores.api_keys import Limits

RESERVED = ("ingress", "search")
"""Deployments of the graph that are not models."""
Task = Literal["caption", "ocr", "describe", "analyze", "objects", "custom", "default"]
ALIAS = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Settings(BaseModel):
    """What `args:` of `serve_config.yaml` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    home: HomePath = Field(Path("~/.local/share/atelier"), validate_default=True, description="where state lives")
    least_free_bytes: int = Field(64 * 2**20, ge=0, description="bytes that must be free in `home` for a start")
    models: dict[Annotated[str, Field(pattern=ALIAS)], Annotated[ModelEntry, AfterValidator(check_options)]] = Field(
        min_length=1, description="alias: what it loads"
    )
    omni: dict[Annotated[str, Field(pattern=ALIAS)], Omni] = Field(
        default_factory=dict, description="the entries of `models` with `engine: omni`, which are written there"
    )
    routes: dict[str, str] = Field(
        default_factory=dict, description="pattern of a model name (`gpt-*`): the alias that answers"
    )
    default_models: dict[Kind, str] = Field(
        default_factory=dict, description="kind: the alias used when a request names no model"
    )
    tasks: dict[Task, str] = Field(
        default_factory=dict, description="task of /v1/vision/analyze: alias; `default` for the others"
    )
    ingress: Ingress = Field(default_factory=lambda: Ingress.model_validate({}))
    search: Search = Field(default_factory=lambda: Search.model_validate({}))
    prompts: Prompts = Field(default_factory=lambda: Prompts.model_validate({}))
    cache: Cache = Field(default_factory=lambda: Cache.model_validate({}))
    image_enabled: bool = Field(True, description="serve the picture routes")
    image_search_enabled: bool = Field(True, description="serve the search routes")
    voice_enabled: bool = Field(True, description="serve the voice routes")
    public_url: str | None = Field(None, pattern=r"^https?://[^\s/]+", description="base of the URLs handed out")
    trusted_proxies: Networks = Field((), description="proxies whose forwarded headers say how the server was asked")
    r2: R2 = Field(default_factory=lambda: R2.model_validate({}))
    files: Files = Field(default_factory=lambda: Files.model_validate({}))
    responses: Responses = Field(default_factory=lambda: Responses.model_validate({}))
    image_prefix: FolderPrefix = Field("", description="first part of generated keys")
    voice_prefix: FolderPrefix = Field("AI/VOICE/", description="first part of the keys of /v1/r2/voice/generate")
    voice_shared: bool = Field(
        False,
        description="recordings that others than clients of this server have put into the store speak for every API "
        "key, not only for admin keys",
    )
    voice_marked: bool = Field(
        True, description='say "AI-generated" in the metadata of spoken files (PCM and older formats have none)'
    )
    file_server: str | None = Field(
        None, pattern=r"^https?://[^\s/]+", description="outside file server that results are uploaded to"
    )
    public_files: bool = Field(True, description="/process answers with a URL; false: with base64")
    bearer_token: Key | None = Field(None, description="one more key, of /latest only")
    timezone: ZoneName = Field("+09:00", description="of the times in /latest")
    strict: bool = Field(False, description="refuse unknown fields instead of naming them in a header")
    api_keys: Keys = Field((), description="keys of user scope; none = open")
    admin_keys: Keys = Field((), description="keys of admin scope")
    keys_file: HomePath | None = Field(
        None,
        description="keys that `atelier keys` writes; default ATELIER_HOME/keys.json; closes the server when named",
    )
    limits: Limits = Field(
        Limits(), description="of each key whose own are not set, and of each address while the server is open"
    )
    image_max_bytes: int = Field(20 * 2**20, ge=1024, description="largest accepted picture, bytes")
    image_max_pixels: int = Field(MAX_PIXELS, ge=4096, le=MAX_PIXELS, description="largest accepted picture, pixels")
    max_content_length: int = Field(64 * 2**20, ge=2**20, description="largest accepted request body, bytes")
    bodies_max_bytes: int | None = Field(
        None,
        ge=2**20,
        description="request bodies in one ingress replica at once, bytes; default 192 MiB, or a 16th of the memory",
    )
    idempotency_max_bytes: int = Field(2**30, ge=0, description="answers kept for an Idempotency-Key, bytes in all")
    allow_remote_images: bool = Field(False, description="fetch pictures that requests name by http(s) URL")
    remote_image_hosts: Origins = Field(
        (), description="`host:port` of hosts that pictures may be fetched from although they are not public"
    )
    cors_origins: Origins = Field((), description="origins of pages that may call, besides those of this machine")
    log_format: Literal["text", "json"] = Field("text", description="readable lines in the logs, or a JSON object each")
    idle_timeout: float = Field(300.0, gt=0, description="seconds after its last request until a model is unloaded")
    residency: Residency = Field(default_factory=lambda: Residency.model_validate({}))
    start_timeout: float = Field(120.0, gt=0, description="seconds a request waits for a model to start")
    queue_timeout: float = Field(600.0, gt=0, description="seconds a request waits for its turn at a model")

    @model_validator(mode="before")
    @classmethod
    def _omni_stands_among_the_models(cls, values: Any) -> Any:
        models = values.get("models") if isinstance(values, dict) else None
        if not isinstance(models, dict):
            return values
        omni = {
            alias: each for alias, each in models.items() if isinstance(each, dict) and each.get("engine") == "omni"
        }
        if not omni:
            return values
        for alias, each in omni.items():
            try:
                Omni.model_validate(each)
            except ValidationError as error:
                raise ValueError(first_mistake(error, Omni, within=f"models.{alias}")) from None
        rest = {alias: each for alias, each in models.items() if alias not in omni}
        return {**values, "models": rest, "omni": {**omni, **values.get("omni", {})}}

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Self:
        for where, names in (
            ("routes", self.routes),
            ("default_models", self.default_models),
            ("tasks", self.tasks),
            ("search", {"embedder": self.search.embedder} if self.image_search_enabled else {}),
            ("prompts", {"alias": self.prompts.alias} if self.prompts.alias is not None else {}),
        ):
            allowed = [*self.models, *(self.omni if where == "routes" else ())]
            for key, alias in names.items():
                if alias not in allowed:
                    raise ValueError(
                        f"{where}.{key}: {alias!r} is not an alias of models; allowed: {', '.join(allowed)}"
                    )
        for alias, omni in self.omni.items():
            self._check_omni(alias, omni)
        for alias, entry in self.models.items():
            if alias in RESERVED:
                raise ValueError(f"models.{alias}: this name is the server's own; choose another alias")
            try:
                check_checkpoint(entry)
            except CheckpointError as error:
                raise ValueError(f"models.{alias}.checkpoint: {error}") from None
        for task, alias in self.tasks.items():
            if self.models[alias].kind != "vlm":
                raise ValueError(f"tasks.{task}: {alias!r} is a model of kind {self.models[alias].kind}, not vlm")
        for kind, alias in self.default_models.items():
            if self.models[alias].kind != kind:
                raise ValueError(f"default_models.{kind}: {alias!r} is a model of kind {self.models[alias].kind}")
        if self.prompts.alias is not None and self.models[self.prompts.alias].kind != "vlm":
            kind = self.models[self.prompts.alias].kind
            raise ValueError(f"prompts.alias: {self.prompts.alias!r} is a model of kind {kind}, not vlm")
        if self.image_search_enabled and not embeds_pictures(self.models[self.search.embedder]):
            raise ValueError(f"search.embedder: {self.search.embedder!r} is not a model that embeds pictures")
        return self

    @model_validator(mode="after")
    def _shares_what_several_ingress_replicas_know(self) -> Self:
        needed = {
            "REDIS_URL (cache.redis_url)": self.cache.url is not None,
            "SEARCH_DATABASE_URL (search.database_url)": self.search.database_url is not None,
            "R2_ENABLED=1 (r2.enabled)": self.r2.enabled,
        }
        missing = [name for name, is_there in needed.items() if not is_there]
        if self.ingress.replicas > 1 and missing:
            raise ValueError(
                f"ingress.replicas: {self.ingress.replicas} ingress replicas share what they know, for which there is "
                f"no {', no '.join(missing)}; allowed without: 1"
            )
        return self

    def _check_omni(self, alias: str, omni: Omni) -> None:
        if alias in self.models:
            raise ValueError(f"omni.{alias}: there is a model of this name; choose another alias")
        for name, part, kind in (
            ("chat", omni.chat, "vlm"),
            ("image", omni.image, "image"),
            ("voice", omni.voice, "voice"),
        ):
            allowed = [each for each, entry in self.models.items() if entry.kind == kind]
            if part is not None and part not in allowed:
                there = ", ".join(allowed) or "none, since no such model is configured"
                raise ValueError(f"models.{alias}.{name}: {part!r} is no model of kind {kind}; allowed: {there}")

    @property
    def folder(self) -> Path:
        """`home`, with ~ expanded."""
        return self.home.expanduser().absolute()

    @property
    def shared_database_url(self) -> str | None:
        """Where several ingress replicas keep what has to last; None with one, which has files of its own."""
        url = self.search.database_url
        return url.get_secret_value() if url is not None and self.ingress.replicas > 1 else None

    @property
    def shared_redis_url(self) -> str | None:
        """Where several ingress replicas keep what goes on; None with one, which has it in memory."""
        url = self.cache.url
        return url.get_secret_value() if url is not None and self.ingress.replicas > 1 else None

    @property
    def keys_database_url(self) -> str | None:
        """Where the keys are that commands make; None: in the file. One that is named is so of every replica."""
        return self.shared_database_url if self.keys_file is None else None

    @property
    def footprints(self) -> Path:
        """The file that remembers how much memory models take."""
        return self.folder / "footprints.json"

    @property
    def keys_path(self) -> Path:
        """The file of keys, whether it is there or not."""
        return (self.keys_file or self.folder / "keys.json").expanduser().absolute()

    def is_deployed(self, alias: str) -> bool:
        """Whether the feature that the model serves is switched on."""
        switches: dict[Kind, bool] = {
            "image": self.image_enabled,
            "clip": self.image_search_enabled,
            "voice": self.voice_enabled,
        }
        return switches.get(self.models[alias].kind, True)

    @property
    def environments(self) -> list[str]:
        """The names of the packages that engines in use need before the server's own, sorted."""
        used = {engine_class(entry.engine).environment for a, entry in self.models.items() if self.is_deployed(a)}
        return sorted(name for name in used if name is not None)

    def default_for(self, kind: Kind) -> str | None:
        """The alias of a kind that answers when none is named: the configured one, else the first."""
        if kind in self.default_models:
            return self.default_models[kind]
        return next((alias for alias, entry in self.models.items() if entry.kind == kind), None)
