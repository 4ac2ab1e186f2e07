"""A server that speaks S3: rclone before a folder, in a process of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import boto3

from cli.environment import free_ports
from stores.s3 import S3Store

_KEY_ID = "a-key-id-of-20-chars"
_SECRET = "a-secret-access-key-of-forty-characters."

_SERVE = """
"$@" &
read -r _  # ends when the other end is closed, however that process ended
kill -9 $!
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket and how to reach it."""

    endpoint: str
    name: str

    def store(self) -> S3Store:
        return S3Store(self.endpoint, self.name, _KEY_ID, _SECRET)

    def create(self) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=_KEY_ID,
            aws_secret_access_key=_SECRET,
        )
        client.create_bucket(Bucket=self.name)
        client.close()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make a server keep its files here."""
        return {
            "R2_ENABLED": "1",
            "R2_ENDPOINT_URL": self.endpoint,
            "R2_ACCESS_KEY_ID": _KEY_ID,
            "R2_SECRET_ACCESS_KEY": _SECRET,
            "R2_BUCKET_NAME": self.name,
        }


@contextmanager
def s3_server() -> Iterator[str]:
    """The server's address; it ends with the context, or with this process."""
    (port,) = free_ports(1)
    rclone = shutil.which("rclone", path=sysconfig.get_path("scripts")) or "rclone"
    with tempfile.TemporaryDirectory() as folder:
        command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{_KEY_ID},{_SECRET}", folder]
        # A configuration of the user could add other options.
        command += ["--config", "", "--log-file", str(Path(folder) / "rclone.log")]
        with subprocess.Popen(["/bin/sh", "-c", _SERVE, "sh", *command], stdin=subprocess.PIPE) as process:
            assert process.stdin
            try:
                _wait_until_it_listens(process, port)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.stdin.close()
                process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("rclone does not listen")


def new_bucket(endpoint: str) -> Bucket:
    bucket = Bucket(endpoint, f"bucket-{uuid.uuid4().hex}")
    bucket.create()
    return bucket
