"""A server that speaks S3, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3

from stores.s3 import S3Store

_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket and how to reach it."""

    endpoint: str
    name: str

    def store(self) -> S3Store:
        return S3Store(self.endpoint, self.name, "an-id", "a-secret")

    def create(self) -> None:
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="an-id",
            aws_secret_access_key="a-secret",
        )
        client.create_bucket(Bucket=self.name)
        client.close()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that make a server keep its files here."""
        return {
            "R2_ENABLED": "1",
            "R2_ENDPOINT_URL": self.endpoint,
            "R2_ACCESS_KEY_ID": "an-id",
            "R2_SECRET_ACCESS_KEY": "a-secret",
            "R2_BUCKET_NAME": self.name,
        }


@contextmanager
def s3_server() -> Iterator[str]:
    """The server's address; it ends with the context, or with this process."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def new_bucket(endpoint: str) -> Bucket:
    bucket = Bucket(endpoint, f"bucket-{uuid.uuid4().hex}")
    bucket.create()
    return bucket
