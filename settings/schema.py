"""Everything that can be configured, as one validated model: what `args:` of `serve_config.yaml` may say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from models.catalog import check_checkpoint, check_options, embeds_pictures, engine_class
from models.entry import ModelEntry
from models.errors import CheckpointError
from models.kinds import Kind
from models.mistakes import first_mistake
from models.picture_files import MAX_PIXELS
from settings.values import (
    FolderPrefix,
    HomePath,
    Key,
    Keys,
    Networks,
    Origins,
    PostgresUrl,
    RedisUrl,
    ZoneName,
)
from stores.api_keys import Limits

RESERVED = ("ingress", "search")
"""Deployments of the graph that are not models."""
Task = Literal["caption", "ocr", "describe", "analyze", "objects", "custom", "default"]
ALIAS = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class R2(BaseModel):
    """The bucket that keeps the files instead of the embedded store: R2, or anything else that speaks S3."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(False, description="keep files in the bucket")
    account_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9]*$", description="Cloudflare account; names the endpoint"
    )
    endpoint_url: str | None = Field(None, pattern=r"^(https?://[^\s/]+.*)?$", description="endpoint, if not R2's own")
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    bucket_name: str | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        needed = {
            "endpoint_url (R2_ENDPOINT_URL) or account_id (R2_ACCOUNT_ID)": self.endpoint_url or self.account_id,
            "access_key_id (R2_ACCESS_KEY_ID)": self.access_key_id and self.access_key_id.get_secret_value(),
            "secret_access_key (R2_SECRET_ACCESS_KEY)": self.secret_access_key
            and self.secret_access_key.get_secret_value(),
            "bucket_name (R2_BUCKET_NAME)": self.bucket_name,
        }
        missing = [name for name, value in needed.items() if not value]
        if self.enabled and missing:
            raise ValueError(f"with R2_ENABLED=1 these are needed too: {', '.join(missing)}")
        return self

    @property
    def endpoint(self) -> str:
        """Where the bucket's server listens: the endpoint given, else the account's own."""
        return self.endpoint_url or f"https://{self.account_id}.r2.cloudflarestorage.com"


class Files(BaseModel):
    """How long generated and uploaded files are kept. The pictures of image search are never among them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_age_days: float = Field(30, gt=0, description="days a file is kept")
    max_bytes: int = Field(10 * 2**30, gt=0, description="bytes kept in all; the oldest files go first")


class Responses(BaseModel):
    """How long responses are kept that a request can go on from. Where: with `search.database_url` in PostgreSQL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_age_days: float = Field(30, gt=0, description="days a response is kept")
    max_bytes: int = Field(
        4 * 2**30, ge=2**20, description="bytes kept in all; the oldest of who has the most go first"
    )


class Search(BaseModel):
    """Image search: which model embeds, and where pictures and index are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    embedder: str = Field("clip", description="alias of the model that embeds pictures and queries")
    database: HomePath | None = Field(None, description="SQLite file; default ATELIER_HOME/search/image_search.db")
    files: HomePath | None = Field(None, description="folder of the stored pictures; default ATELIER_HOME/files")
    prefix: FolderPrefix = Field("AI/SEARCH/", description="first part of every r2_key")
    database_url: PostgresUrl | None = Field(
        None, description="PostgreSQL with pgvector instead of the SQLite file, so that several servers share one index"
    )
    replicas: int = Field(1, ge=1, le=64, description="search replicas; more than one need `database_url`")
    backup_enabled: bool = Field(True, description="back the SQLite file up, and restore it where it is missing")
    backup_interval_seconds: float = Field(1800, ge=1, description="seconds between backups, where something changed")
    backup_key: str = Field(
        "image_search.db", min_length=1, description="what the keys of backups begin with; no client may use it"
    )
    backup_folder: HomePath | None = Field(
        None, description="folder of the backups, on another disk say; default: where the files are"
    )
    backups_kept: int = Field(5, ge=1, description="backups kept, and as many of those asked for; the oldest go")
    max_bytes: int = Field(20 * 2**20, ge=1, description="largest accepted upload, bytes")
    max_ongoing: int = Field(
        32, ge=1, description="requests that one replica works on at once: so many look up, as many change, and so on"
    )
    max_queued: int = Field(256, ge=0, description="requests of a kind that may wait for that; more get 429")
    max_queued_bytes: int = Field(256 * 2**20, ge=0, description="bytes of pictures that may wait with them")
    max_elements: int = Field(50_000, ge=1, description="first capacity of a project's index; it grows")

    @model_validator(mode="after")
    def _is_shared_where_it_has_to_be(self) -> Self:
        if self.replicas > 1 and self.database_url is None:
            raise ValueError(
                f"replicas: {self.replicas} search replicas need database_url (SEARCH_DATABASE_URL), since an SQLite "
                "file is of one process; allowed without it: 1"
            )
        return self

    def database_in(self, home: Path) -> Path:
        """The SQLite file."""
        return (self.database or home / "search" / "image_search.db").expanduser()

    def files_in(self, home: Path) -> Path:
        """The folder of the embedded file store."""
        return (self.files or home / "files").expanduser()


class Prompts(BaseModel):
    """Who writes a prompt from a title and a description: a chat endpoint where its key is given, else an alias."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: Key | None = Field(None, description="key of the chat endpoint; none = not used")
    base_url: str = Field(
        "https://api.openai.com/v1", pattern=r"^https?://[^\s/]+", description="any OpenAI-compatible endpoint"
    )
    model: str = Field("gpt-4.1", min_length=1, description="the endpoint's model")
    alias: str | None = Field(None, description="chat alias that writes while there is no key; none = texts are joined")


class Cache(BaseModel):
    """Where captions are remembered: in Redis as soon as one is named, else in the memory of each ingress replica."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: RedisUrl | None = Field(None, description="Redis that remembers; goes before redis_host")
    redis_host: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._:-]+$", description="host of a Redis without password; none = in memory"
    )
    redis_port: int = Field(6379, ge=1, le=65535)
    redis_db: int = Field(0, ge=0, description="number of the database")
    ttl_seconds: int = Field(86400, ge=1, description="seconds a caption is remembered")
    max_entries: int = Field(100_000, ge=0, description="captions remembered in memory; Redis has limits of its own")
    max_bytes: int = Field(64 * 2**20, ge=0, description="bytes of them")

    @property
    def url(self) -> SecretStr | None:
        """Where Redis is; None while there is none."""
        if self.redis_url is not None or self.redis_host is None:
            return self.redis_url
        host = f"[{self.redis_host}]" if ":" in self.redis_host else self.redis_host
        return SecretStr(f"redis://{host}:{self.redis_port}/{self.redis_db}")


class Residency(BaseModel):
    """Which models leave when others are wanted that do not fit beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    capacity: int = Field(0, ge=0, description="at most so many models are loaded; 0 = as many as there is memory for")
    max_requests: int = Field(0, ge=0, description="requests after which a model is loaded again; 0 = never")
    quiet: float = Field(
        1.0, ge=0, description="seconds without a request after which a model may make room for another at once"
    )
    min_residence: float = Field(
        5.0, ge=0, description="seconds that a model in use stays, and at least as long as it took to load"
    )
    patience: float = Field(
        15.0, ge=0, description="seconds that a request waits for room until a busy model is unloaded after its work"
    )

    @model_validator(mode="after")
    def _waits_in_order(self) -> Self:
        if self.patience < self.quiet:
            raise ValueError(f"patience: {self.patience:g} is less than quiet; allowed: {self.quiet:g} or more")
        return self


class Omni(BaseModel):
    """An entry of `models:` with `engine: omni`: a chat whose model draws and speaks by other aliases."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["omni"] = Field("omni", description="an alias made of others")
    chat: str = Field(description="alias of the chat model that answers")
    image: str | None = Field(None, description="alias of the picture model that draws for it; none = it does not draw")
    voice: str | None = Field(None, description="alias of the voice model that speaks for it; none = it does not speak")

    @property
    def parts(self) -> dict[Kind, str]:
        """The aliases that it is made of, by kind; the chat first."""
        named: dict[Kind, str | None] = {"vlm": self.chat, "image": self.image, "voice": self.voice}
        return {kind: alias for kind, alias in named.items() if alias is not None}


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
