"""Links that open one object until they expire, and the key that signs them."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.errors import (
    StoreUnusable,
)
from stores.objects import FileStore


def test_a_signature_opens_its_key_until_it_expires(files: FileStore) -> None:
    query = dict(part.split("=") for part in files.sign("a/b.png", 1000).split("&"))
    assert files.verify("a/b.png", **query, now=999.9)
    assert not files.verify("a/b.png", **query, now=1000)
    assert not files.verify("a/c.png", **query, now=0)
    assert not files.verify("a/b.png", "1001", query["signature"], now=0)
    assert not files.verify("a/b.png", query["expires"], query["signature"][:-1] + "x", now=0)
    for expires in ("", "-5", "1e9", "9" * 13, "１０００", "1000 "):
        assert not files.verify("a/b.png", expires, query["signature"], now=0)
    assert not files.verify("a/b.png", "1000", "\ud800é", now=0)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30), st.integers(0, 10**11), st.text(max_size=30), st.integers(0, 10**11))
def test_a_signature_opens_nothing_else(files: FileStore, key: str, expires: int, other: str, later: int) -> None:
    signature = files.sign(key, expires).partition("signature=")[2]
    assert files.verify(other, str(later), signature, now=-1) == ((key, expires) == (other, later))


def test_the_signing_key_is_made_once_is_secret_and_is_shared(tmp_path: Path) -> None:
    stores = [FileStore(tmp_path / "files") for _ in range(3)]
    assert len({store.sign("k", 5) for store in stores}) == 1
    path = tmp_path / "files.signing-key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    FileStore(tmp_path / "files")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileStore(tmp_path / "others").sign("k", 5) != stores[0].sign("k", 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["files", "files.signing-key", "others", "others.signing-key"]


def test_many_processes_that_open_a_new_store_at_once_agree_on_the_key(tmp_path: Path) -> None:
    script = "import sys, pathlib, stores.objects as o; print(o.FileStore(pathlib.Path(sys.argv[1])).sign('k', 5))"
    command = [sys.executable, "-c", script, str(tmp_path / "files")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(6)]
    assert len({process.communicate()[0] for process in running}) == 1
    assert all(process.returncode == 0 for process in running)


def test_a_broken_signing_key_is_said_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "files.signing-key").write_bytes(b"")
    with pytest.raises(StoreUnusable, match="remove it"):
        FileStore(tmp_path / "files")
