"""Objects in a bucket of anything that speaks S3: Cloudflare's R2, MinIO, AWS."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from stores.errors import DownloadFailed, KeyNotFound, UploadFailed
from stores.objects import StoredObject, check_key, shown_type

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef
    from typing_extensions import Buffer

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 3
_PART_BYTES: Final = 16 << 20
"""Files are uploaded in parts of this size; no more than one is in memory."""
_MISSING: Final = ("404", "NoSuchKey", "NotFound")


class S3Store:
    """The object store of a bucket; one instance may be used by many threads.

    A request to the bucket is tried three times, each within 5 s for connecting and 30 s for every read. What still
    fails is raised: `UploadFailed` by what changes the bucket, `DownloadFailed` by what reads.
    """

    def __init__(
        self,
        endpoint_url: str,
        bucket: str,
        access_key_id: str,
        secret_access_key: str,
        *,
        connect_timeout: float = _CONNECT_SECONDS,
        read_timeout: float = _READ_SECONDS,
    ) -> None:
        import boto3
        from boto3.s3.transfer import TransferConfig
        from botocore.config import Config

        self._bucket = bucket
        self._client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name="auto",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                retries={"mode": "standard", "max_attempts": _ATTEMPTS},
                # newer checksums are AWS's own: R2 and others refuse them
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._parts = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, use_threads=False
        )

    def put(self, key: str, content: bytes) -> None:
        """Store the object; see `ObjectStore.put`. Raises `UploadFailed`."""
        check_key(key)
        with _failing_as(UploadFailed, "the object store did not take the object"):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ContentType=shown_type(key) or "application/octet-stream"
            )

    def put_file(self, key: str, file: BinaryIO) -> None:
        """Store what is left in the file, in parts when it is large. Raises `UploadFailed`."""
        check_key(key)
        with _failing_as(UploadFailed, "the object store did not take the object"):
            self._client.upload_fileobj(
                file,
                self._bucket,
                key,
                ExtraArgs={"ContentType": shown_type(key) or "application/octet-stream"},
                Config=self._parts,
            )

    def get(self, key: str) -> bytes:
        """The object's bytes. Raises `KeyNotFound`, `DownloadFailed`."""
        check_key(key)
        with _failing_as(DownloadFailed, "the object store did not give the object"):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def open(self, key: str) -> BinaryIO:
        """The object for reading, once and forwards. Raises `KeyNotFound`, `DownloadFailed`; reading it too."""
        check_key(key)
        with _failing_as(DownloadFailed, "the object store did not give the object"):
            return io.BufferedReader(_Body(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]))

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error. Raises `UploadFailed`."""
        check_key(key)
        with _failing_as(UploadFailed, "the object store did not delete the object"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key. Raises `DownloadFailed`."""
        try:
            self._head(key)
        except KeyNotFound:
            return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, sorted. Raises `DownloadFailed`."""
        for found in self.listing(prefix):
            yield found.key

    def stat(self, key: str) -> StoredObject:
        """What a listing says of the object. Raises `KeyNotFound`, `DownloadFailed`."""
        head = self._head(key)
        return StoredObject(key, head["ContentLength"], head["LastModified"].timestamp())

    def listing(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, sorted by key. Raises `DownloadFailed`."""
        if start := prefix.rpartition("/")[0]:
            check_key(start)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        with _failing_as(DownloadFailed, "the object store did not list its objects"):
            for page in pages:
                for found in page.get("Contents", ()):
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"].timestamp())

    def link(self, key: str, seconds: int) -> str:
        """A presigned URL of the bucket."""
        check_key(key)
        asked = {"Bucket": self._bucket, "Key": key}
        if shown_type(key) is None:
            asked["ResponseContentDisposition"] = "attachment"
        return self._client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def _head(self, key: str) -> HeadObjectOutputTypeDef:
        check_key(key)
        with _failing_as(DownloadFailed, "the object store did not say whether it has the object"):
            return self._client.head_object(Bucket=self._bucket, Key=key)


class _Body(io.RawIOBase):
    """An object on its way here; one that breaks off is an error, never a shorter object."""

    def __init__(self, body: StreamingBody) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        with _failing_as(DownloadFailed, "the object store did not give the whole object"):
            return self._body.readinto(buffer)  # type: ignore[arg-type]  # its stub asks for a file

    def close(self) -> None:
        self._body.close()
        super().close()


@contextlib.contextmanager
def _failing_as(kind: type[UploadFailed | DownloadFailed], message: str) -> Iterator[None]:
    """What boto3 raises, as one of ours."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        fault = error.response.get("Error", {}).get("Code", "")
        if fault in _MISSING:
            raise KeyNotFound("there is no object of that key") from error
        raise kind(message) from error
    except (BotoCoreError, Boto3Error) as error:
        raise kind(message) from error
