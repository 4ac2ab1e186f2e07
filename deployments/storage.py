"""Where the files of a configuration are, and what is remembered."""

from __future__ import annotations

from typing import Final

from settings import Settings
from stores.answers import Answers, open_answers
from stores.api_key_table import open_api_keys as open_keys
from stores.api_key_table import refuse_file
from stores.api_keys import ApiKeys
from stores.backup import Backups
from stores.cache import Cache, MemoryCache, RedisCache
from stores.database import SharedDatabase
from stores.index.index import ImageIndex
from stores.index.records import Embedder
from stores.objects import FileStore, PublicStore
from stores.responses import Responses, open_file
from stores.s3 import S3Store
from stores.sqlite import Sqlite
from stores.voices import Voices

PICTURE_SUFFIXES: Final = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp"}
"""Pillow's format name → how keys of such pictures end."""

_ANSWER_SECONDS: Final = 24 * 3600.0
_MAX_ANSWERS: Final = 10_000
_PRUNE_SECONDS: Final = 10.0
"""In a database that others look through at the same time."""


def open_store(settings: Settings) -> PublicStore:
    """The bucket when `r2.enabled`, else the embedded store; every process that asks works on the same objects.

    Raises:
        StoreUnusable: the embedded store's folder cannot be used.
    """
    r2 = settings.r2
    if r2.enabled and r2.bucket_name and r2.access_key_id and r2.secret_access_key:  # settings has checked all of them
        return S3Store(
            r2.endpoint, r2.bucket_name, r2.access_key_id.get_secret_value(), r2.secret_access_key.get_secret_value()
        )
    return FileStore(settings.search.files_in(settings.folder))


def open_cache(settings: Settings) -> Cache:
    """The cache in Redis when one is named, else one in memory. Connects to nothing yet."""
    cache = settings.cache
    if cache.url is not None:
        return RedisCache(cache.url.get_secret_value(), seconds=cache.ttl_seconds)
    return MemoryCache(seconds=cache.ttl_seconds, max_entries=cache.max_entries, max_bytes=cache.max_bytes)


def open_index(settings: Settings, embedder: Embedder) -> ImageIndex:
    """The image index for an embedder's vectors: in PostgreSQL when that is named, else in the SQLite file.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
        StoreUnusable: the database cannot be used as it is.
    """
    search = settings.search
    if search.database_url is not None:
        from stores.postgres import Postgres  # its driver takes memory

        database: Postgres | Sqlite = Postgres(search.database_url.get_secret_value())
    else:
        database = Sqlite(search.database_in(settings.folder), max_elements=search.max_elements)
    return ImageIndex(database, embedder, key_prefix=search.prefix)


def open_responses(settings: Settings) -> Responses:
    """The stored responses: in PostgreSQL when that is named for image search, else in a file of this machine.

    Raises:
        StoreError: the database cannot be opened.
    """
    url = settings.search.database_url
    if url is not None:
        from stores.postgres import Postgres  # its driver takes memory

        database: SharedDatabase = Postgres(url.get_secret_value())
    else:
        database = open_file(settings.folder / "responses.db")
    kept = settings.responses
    return Responses(database, max_age=kept.max_age_days * 86_400, max_bytes=kept.max_bytes)


def open_voices(settings: Settings, files: PublicStore) -> Voices:
    """The voices in a store, which several ingress replicas change in turns."""
    if settings.shared_database_url is None:
        return Voices(files)
    from stores.shared_postgres import SharedPostgres  # its driver takes memory

    database = SharedPostgres(settings.shared_database_url, contents="the voices")
    return Voices(files, lambda: database.one_at_a_time("voices"))


def open_idempotency_answers(settings: Settings) -> Answers:
    """The answers kept for an `Idempotency-Key`: of several ingress replicas in PostgreSQL, else in a file.

    Raises:
        StoreError: the file cannot be opened. PostgreSQL is connected to when it is first needed.
    """
    most_bytes = settings.idempotency_max_bytes
    if settings.shared_database_url is None:
        answers = Answers(
            open_answers(settings.folder / "idempotency" / "answers.db"),
            seconds=_ANSWER_SECONDS, max_answers=_MAX_ANSWERS, max_bytes=most_bytes,
        )  # fmt: skip
        answers.prune()
        return answers
    from stores.shared_postgres import SharedPostgres  # its driver takes memory

    database = SharedPostgres(settings.shared_database_url, contents="the kept answers")
    return Answers(
        database,
        seconds=_ANSWER_SECONDS,
        max_answers=_MAX_ANSWERS,
        max_bytes=most_bytes,
        prune_seconds=_PRUNE_SECONDS,
    )


def open_job_outcomes(database_url: str, most_bytes: int, seconds: float) -> Answers:
    """What jobs have made that outlive their requests, of several ingress replicas: `most_bytes`, so many seconds each.

    Connects to PostgreSQL when it is first needed.
    """
    from stores.shared_postgres import SharedPostgres  # its driver takes memory

    database = SharedPostgres(database_url, contents="the jobs")
    return Answers(
        database,
        seconds=seconds,
        max_answers=_MAX_ANSWERS,
        max_bytes=most_bytes,
        table="job_outcomes",
        prune_seconds=_PRUNE_SECONDS,
    )


def open_api_keys(settings: Settings) -> ApiKeys:
    """The keys that commands make: of several ingress replicas in PostgreSQL, unless a file is named, else in a file.

    Raises:
        StoreUnusable: keys in PostgreSQL are wanted, and there are some in the file.
    """
    if settings.keys_database_url is not None:
        refuse_file(settings.keys_path)
    return open_keys(settings.keys_path, settings.keys_database_url)


def open_backups(settings: Settings, files: PublicStore) -> Backups:
    """The backups of the SQLite file: in the folder named for them, else where the files are."""
    search = settings.search
    folder = search.backup_folder
    return Backups(FileStore(folder.expanduser()) if folder else files, search.backup_key, search.backups_kept)
