"""The sections of a configuration: one model for each part of the server that has settings of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from models.kinds import Kind
from settings.values import FolderPrefix, HomePath, Key, PostgresUrl, RedisUrl


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


class Ingress(BaseModel):
    """The HTTP side. Several replicas share what they know: in Redis, PostgreSQL and a bucket, which they then need."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: int = Field(
        1, ge=1, le=64, description="ingress replicas; more than one need Redis, PostgreSQL and a bucket"
    )
