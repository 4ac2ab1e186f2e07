"""What the front door does by itself, over a raw socket: no client library lets such requests out."""

from __future__ import annotations

import json
import re
import socket
import time
from email import message_from_string
from email.message import Message
from pathlib import Path

from ray.serve._private import haproxy_templates

from tests.servers import Server


def exchange(server: Server, *parts: str) -> tuple[int, Message, str]:
    """Status, headers and body of the answer to what is sent, each part when the one before has been read."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        for part in parts:
            connection.sendall(part.encode())
            time.sleep(0.3)
        with connection.makefile(encoding="utf-8", newline="") as answer:
            head, _, body = answer.read().partition("\r\n\r\n")
    status, _, headers = head.partition("\r\n")
    return int(status.split()[1]), message_from_string(headers), body


def get(path: str, *headers: str) -> str:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""))


def test_an_id_is_repeated_only_when_it_is_sane_as_a_whole(server: Server) -> None:
    for path in ("/healthz", "/-/healthz"):  # of the ingress, and of HAProxy
        assert exchange(server, get(path, "X-Request-Id: mine"))[1].get_all("x-request-id") == ["mine"]
        for ids in (["ok,<bad>"], ["ok", "<bad>"], ["<bad>", "ok"], ["a" * 129], []):
            _, headers, _ = exchange(server, get(path, *(f"X-Request-Id: {each}" for each in ids)))
            (given,) = headers.get_all("x-request-id", [])
            assert len(given) == 36


def test_a_malformed_body_is_refused_in_the_envelope_with_the_id(server: Server) -> None:
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, headers, body = exchange(server, head, "no-length\r\n{}\r\n")
    assert (status, headers["content-type"], headers["x-request-id"]) == (400, "application/json", "mine")
    assert json.loads(body)["error"]["type"] == "invalid_request_error"


def test_headers_that_cannot_be_read_are_refused_at_once(server: Server) -> None:
    # In HAProxy's own HTML: version 2.8 takes no other words for what breaks before there is a request.
    assert exchange(server, get("/healthz", "no header"))[0] == 400
    assert exchange(server, get("/healthz", "X-Prompt: " + "%EA" * 30_000))[0] == 400


def test_the_configuration_in_use_has_what_the_wrapper_writes_and_no_splicing(server: Server) -> None:
    (haproxy,) = [each for each in server.processes() if each.name() == "haproxy"]
    command = haproxy.cmdline()
    written = Path(command[command.index("-f") + 1]).read_text()
    assert "option splice" not in written
    assert re.search(
        rf"^    bind 127[.]0[.]0[.]1:{server.port}\n    http-request set-header x-request-id ", written, re.MULTILINE
    )
    assert re.search(r'set-header x-atelier-peer "[0-9a-f]{32} %\[src\]"', written)
    assert not re.search(r"^ *bind [*]?:", written, re.MULTILINE)


def test_rays_template_still_has_what_the_wrapper_edits() -> None:
    """When this fails after an upgrade of Ray, read `cli/haproxy.sh` line by line."""
    template = haproxy_templates.HAPROXY_CONFIG_TEMPLATE
    written = (
        "option splice-request",
        "option splice-response",
        "errorfile 503",
        "mode http",
        "http-request return status 404 ",
        "use_backend ",
    )
    for line in written:
        assert line in template
