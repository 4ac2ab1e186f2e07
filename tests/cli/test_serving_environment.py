"""The environment in which Ray and Serve start."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.environment import haproxy_binary, serving_environment


@pytest.mark.skipif(haproxy_binary() is None, reason="no HAProxy on this platform, so none of its ports either")
def test_the_address_of_a_service_is_not_taken_for_a_port_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATELIER_HAPROXY_PORT", "tcp://10.96.0.7:80")
    monkeypatch.setenv("REDIS_PORT_6379_TCP_ADDR", "10.96.0.8")
    environ = serving_environment("127.0.0.1", 8123, tmp_path, tmp_path)
    assert environ["ATELIER_HAPROXY_PORT"] == "8123"
    assert environ["REDIS_PORT_6379_TCP_ADDR"] == "10.96.0.8"
