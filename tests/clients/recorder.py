"""A server between a client and the one that it is pointed at: passes everything on, and notes what was asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx

_SECONDS: Final = 600
_OWN: Final = ("host", "content-length", "connection", "accept-encoding", "transfer-encoding")
"""Headers that each connection has for itself."""

Recorded = dict[str, Any]
"""A request: the `case` that it belongs to, its `method`, `path` and `status`, and its `body` as JSON; or of a form its
`content_type` and its bytes as `base64`."""


@contextmanager
def recording(upstream: str, requests: list[Recorded]) -> Iterator[str]:
    """Its URL. The first part of each path is the name of the case; `requests` grows as requests come."""

    class Recorder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            case, _, path = self.path.removeprefix("/").partition("/")
            size = self.headers.get("content-length")
            body = self._chunks() if size is None else self.rfile.read(int(size))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
            noted: Recorded = {"case": case, "method": self.command, "path": f"/{path}"}
            requests.append(noted)
            noted |= _written(body, self.headers.get("content-type") or "")
            url = f"{upstream}/{path}"
            try:
                with httpx.stream(self.command, url, content=body, headers=headers, timeout=_SECONDS) as answer:
                    noted["status"] = answer.status_code
                    self._pass_on(answer)
            except httpx.TransportError as error:
                noted.setdefault("status", 502)
                self.log_error("%s: %s", url, error)
                self.close_connection = True

        do_POST = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

        def _pass_on(self, answer: httpx.Response) -> None:
            """Each piece as it comes."""
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers.get("content-type", ""))
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for piece in answer.iter_bytes():
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def _chunks(self) -> bytes:
            """The body of a request that does not say how long it is, as Node sends its forms."""
            body = b""
            if "chunked" not in (self.headers.get("transfer-encoding") or ""):
                return body
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_request(self, *_: object) -> None:
            """Not each request, errors only."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _written(body: bytes, content_type: str) -> Recorded:
    if not body:
        return {}
    if content_type.startswith("multipart/"):
        return {"content_type": content_type, "base64": base64.b64encode(body).decode()}
    return {"body": json.loads(body)}
