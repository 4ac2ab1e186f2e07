"""Three real Ray nodes: what the command says of them, and what clients see when nodes die and come.

`python -m bench.cluster` plays more, and counts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import ray

from bench.cluster.load import Load, count
from bench.cluster.nodes import Nodes
from bench.cluster.server import configuration, running
from cli.environment import ROOT, free_ports

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="each node has an address of loopback of its own")

_NOWHERE = "redis://127.0.0.1:9/0"
_VERSIONS = """
import sys
import ray
from ray._common.usage import usage_lib
from ray._private import utils, worker
utils.check_version_info = lambda *_: None
ray.init(address=sys.argv[1], log_to_driver=False)
ray.__version__ = sys.argv[2]
usage_lib.put_cluster_metadata(worker.global_worker.gcs_client, ray_init_cluster=False)
"""
_ALIVE = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print(sum(each["Alive"] for each in ray.nodes()))
"""
_EXAMINED = """
import sys
from cli import cluster, ray_internals
from cli.cluster_node import sources_digest
from cli.configuration import serve_configuration
from cli.environment import ROOT
from settings.version import version
cluster.connect(sys.argv[1])
right = {"root": str(ROOT), "version": version(), "digest": sources_digest(ROOT)}
for wrong in ({"root": "/nowhere"}, {"digest": "another"}):
    found = list(ray_internals.examine_nodes({**right, **wrong}, {"models": {}}, {}, 60))
    print(len(found), {why for _, why, _ in found})
cluster.version = lambda: "0.0.1"  # as a driver of another version would say
try:
    cluster.prepare(serve_configuration(ROOT / "serve_config.yaml"))
except cluster.ClusterError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """The head, at which clients come in and where no model fits, and two others, of which one is set up wrongly."""
    with tempfile.TemporaryDirectory(
        prefix="atc-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:  # paths of sockets may have 107 bytes
        made = Nodes(Path(folder) / "ray")
        try:
            made.start("head", memory=100_000_000, resources={"front": 1})
            made.start("first", memory=1_400_000_000, gpus=1)
            made.start("second", memory=1_400_000_000, gpus=1, REDIS_URL=_NOWHERE)
            yield made
        finally:
            made.close()


def up(nodes: Nodes, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`atelier up --address` that is expected to refuse."""
    more = {"ATELIER_HOME": str(folder / "home"), "PORT": str(free_ports(1)[0]), **environ}
    return subprocess.run(
        [sys.executable, "-m", "cli", "up", "--address", nodes.address],
        env=nodes.environment(nodes.nodes["head"], **more), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def script(nodes: Nodes, text: str, *arguments: str) -> str:
    """What a program prints that is a driver of the cluster."""
    return subprocess.run(
        [sys.executable, "-c", text, nodes.address, *arguments], env=nodes.environment(nodes.nodes["head"]), cwd=ROOT,
        stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.nightly
def test_a_wrong_token_is_refused_in_one_line(nodes: Nodes, tmp_path: Path) -> None:
    refused = up(nodes, tmp_path, RAY_AUTH_TOKEN="0" * 64)
    assert refused.returncode == 1
    said = f"atelier: --address {nodes.address}: the cluster asks for its token, which is not the one of RAY_AUTH_TOKEN"
    assert refused.stderr.startswith(said)
    assert refused.stderr.count("\n") == 1


@pytest.mark.nightly
def test_a_cluster_of_another_ray_is_refused_in_one_line(nodes: Nodes, tmp_path: Path) -> None:
    script(nodes, _VERSIONS, "2.0.0")
    try:
        refused = up(nodes, tmp_path)
    finally:
        script(nodes, _VERSIONS, ray.__version__)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"atelier: --address {nodes.address}: the cluster runs Ray 2.0.0 on Python 3.")
    assert "both have to be the same on all nodes" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.nightly
def test_nodes_without_this_code_are_named_and_refused(nodes: Nodes) -> None:
    absent, changed, refused = script(nodes, _EXAMINED).splitlines()
    assert "has no Atelier in /nowhere, where the others have it" in absent
    assert "than this machine" in changed
    assert all(each.startswith("3 {") and each.count("'") == 2 for each in (absent, changed))
    assert refused.count("and this is 0.0.1") == 3
    assert refused.endswith("; install the same there, or take it out by `ray stop`")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_clients_lose_nothing_when_a_node_dies_and_another_comes(nodes: Nodes, tmp_path: Path) -> None:
    config = configuration(
        tmp_path, proxies="HeadOnly", voice={"gpus": 8}, image_gen={"replicas": {"min": 2, "max": 2}}
    )
    port = free_ports(1)[0]
    with running(nodes, config, tmp_path / "home", port, at="head") as server:
        said = (tmp_path / "up.out").read_text()
        wrong = nodes.nodes["second"].address
        assert f"node {wrong}: REDIS_URL: not as where the server is started" in said
        assert f"node {wrong}: cannot reach Redis at 127.0.0.1:9: Connection refused" in said
        assert "models.voice: no node has 8 GPU and 700000000 bytes of memory; until one joins it answers 503" in said
        assert said.count("atelier: ") == 3
        spoken = {"model": "voice", "voice": "alloy", "input": "Good morning."}
        refused = httpx.post(f"{server.url}/v1/audio/speech", json=spoken, timeout=60)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_too_large")
        load = Load(server.url, pause=0.3)
        try:
            begun = time.monotonic()
            load.add("picture", 2)
            load.add("question")
            assert load.wait_until_answered("question", begun, 200)
            assert sorted(server.wait_for_places("image-gen", 2, 200)) == ["first", "second"]
            (lost,) = server.places("vlm-fast")
            nodes.nodes[lost].kill()
            killed = time.monotonic()
            assert load.wait_until_answered("picture", killed, 200, number=3)
            nodes.start("third", memory=1_400_000_000, gpus=1)
            assert load.wait_until_answered("question", killed, 200, number=3)
            (left,) = {"first", "second"} - {lost}
            assert set(server.places("vlm-fast")) <= {left, "third"}
            assert sorted(server.wait_for_places("image-gen", 2, 200)) == sorted([left, "third"])
        finally:
            load.stop()
        found = count(load.outcomes)
        assert (found.lost, found.wrong, dict(found.losses)) == (0, 0, {})
        assert found.answered > 20
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert script(nodes, _ALIVE).split() == ["3"]
