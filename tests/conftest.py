"""The servers that all tests share, and the order in which files are dealt out."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from xdist.remote import Producer

from tests.api.node import install
from tests.buckets import Bucket, new_bucket, s3_server
from tests.dealing import OWN, SHARED, Dealing, dealt_with, in_order, sharing, starting
from tests.postgres_server import new_database, postgres_server
from tests.servers import Server, start_server

# Before torch is imported: threads that wait for each other by spinning take the cores from the servers of the tests.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

_SECONDS = "atelier/seconds"
_seconds: defaultdict[str, float] = defaultdict(float)
"""What each file, or folder, of tests has taken in this run."""
_need_the_server = pytest.StashKey[frozenset[str]]()
_of_this_process = ExitStack()
_shared = ExitStack()
"""What ends with the last test that needs it."""


def pytest_configure() -> None:
    """Locks of loads in a folder of this process alone: they would have its models wait for those of the others."""
    folder = tempfile.TemporaryDirectory(prefix="atelier-tests-")
    _of_this_process.enter_context(folder)
    os.environ["XDG_RUNTIME_DIR"] = folder.name


def pytest_unconfigure() -> None:
    _of_this_process.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    in_order(items, config.cache.get(_SECONDS, {}) if hasattr(config, "cache") else {})
    config.stash[_need_the_server] = sharing(items)
    if hasattr(config, "cache") and getattr(config, "workerinput", {}).get("workerid") == "gw0":
        config.cache.set(SHARED, sorted(sharing(items)))
        config.cache.set(OWN, sorted(starting(items)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if dealt_with(item.nodeid) not in item.config.stash[_need_the_server]:  # then none after it does
        _shared.close()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[dealt_with(report.nodeid)] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "cache") and not hasattr(session.config, "workerinput"):
        known = session.config.cache.get(_SECONDS, {})
        session.config.cache.set(_SECONDS, {**known, **{name: round(each, 1) for name, each in _seconds.items()}})


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Dealing:
    config.option.loadscopereorder = False  # by the number of their tests
    return Dealing(config, log)


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the SDKs of Node are installed, with the programs that call them."""
    folder = tmp_path_factory.mktemp("node")
    install(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The default configuration, ready; ended with SIGTERM after the last file that needs it."""
    with _shared:
        yield _shared.enter_context(running(tmp_path_factory.mktemp("atelier")))


@contextmanager
def running(home: Path) -> Iterator[Server]:
    started = start_server(home)
    try:
        started.wait_until_ready()
        yield started
    finally:
        status = started.stop()
    assert status == 0
    assert not started.processes()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str) -> Bucket:
    """An empty bucket."""
    return new_bucket(s3)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server with pgvector."""
    with postgres_server() as address:
        yield address


@pytest.fixture
def database_url(postgres: str) -> str:
    """The address of an empty database."""
    return new_database(postgres)
