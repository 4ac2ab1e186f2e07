"""`atelier up --address`: addresses without a cluster; of a real one see tests/deployments/test_cluster.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.cluster_node import sources_digest, variable_digests
from cli.environment import ROOT, free_ports
from tests.servers import try_server


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://10.0.0.1:10001", "Serve is started by a node of the cluster, not through Ray Client; run this command"),
        ("http://10.0.0.1:8265", "Serve is started by a node of the cluster"),
        ("10.0.0.1", "auto, or HOST:PORT of the cluster's head such as 10.0.0.1:6379, is needed"),
        ("10.0.0.1:99999", "auto, or HOST:PORT"),
        ("", "auto, or HOST:PORT"),
        ("::1:6379", "auto, or HOST:PORT"),
    ],
)
def test_what_is_no_address_of_a_cluster_is_a_mistake_in_one_line(address: str, said: str, tmp_path: Path) -> None:
    refused = try_server(tmp_path / "home", address=address)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"atelier: --address: {address!r}: {said}")
    assert refused.stderr.count("\n") == 1


def test_an_address_where_nothing_listens_is_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    refused = try_server(tmp_path / "home", address=f"127.0.0.1:{port}")
    assert refused.returncode == 1
    said = f"atelier: --address 127.0.0.1:{port}: no Ray cluster answers there: Connection refused\n"
    assert refused.stderr == said


def test_a_second_port_is_refused_on_a_cluster(tmp_path: Path) -> None:
    refused = try_server(tmp_path / "home", address="auto", FILE_SERVER_PORT="8123")
    assert refused.returncode == 2
    assert refused.stderr == "atelier: FILE_SERVER_PORT: there is no second port with --address; leave it out\n"


def test_the_digest_of_the_code_changes_with_each_file(tmp_path: Path) -> None:
    for room in ("settings", "stores", "models", "deployments"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("1")
    (tmp_path / "graph.py").write_text("1")
    before = sources_digest(tmp_path)
    (tmp_path / "models" / "a.py").write_text("2")
    changed = sources_digest(tmp_path)
    (tmp_path / "models" / "a.py").rename(tmp_path / "models" / "b.py")
    assert len({before, changed, sources_digest(tmp_path), sources_digest(ROOT)}) == 4


def test_variables_are_compared_without_their_values() -> None:
    found = variable_digests(
        {"R2_SECRET_ACCESS_KEY": "hidden", "ATELIER_HOME": "/x", "IDLE_TIMEOUT": "", "PATH": "/bin"}
    )
    assert list(found) == ["R2_SECRET_ACCESS_KEY"]
    assert "hidden" not in found["R2_SECRET_ACCESS_KEY"]
