"""A bucket through the minio client: the same requests as sftools.store.boto_store makes, the same errors."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from sftools.errors import SftoolsError, UsageError
from sftools.limits import MAX_S3_ANSWER_BYTES
from sftools.store.boto_store import (
    CONNECT_SECONDS,
    READ_SECONDS,
    BucketOptions,
    classify,
    object_headers,
    said,
    told_of,
)
from sftools.store.objects import Condition, NoBucket, NoUpload, ObjectInfo, Part, StoreError, Unavailable
from sftools.store.s3 import SECRET_DIRECTORIES, credentials, endpoint_url, one_line

_PIECE = 1 << 20


class MinioStore:
    """sftools.store.objects.Store over minio. Raises UsageError for wrong options, SftoolsError without minio.

    The client's own calls know neither conditions nor single parts: its signed request is what is used.
    """

    def __init__(self, options: BucketOptions) -> None:
        self.options = options
        self.conditions: bool | None = None
        self.quoted = True
        self.keeps_meta = True
        url = endpoint_url(options.s3) or "https://s3.amazonaws.com"
        self.place = f"{url} bucket {options.bucket}"
        self._url = urlsplit(url)
        self._client: Any = None
        if options.s3.path_style is False:
            raise UsageError("--client minio chooses between path and host name by itself")
        self.renew()

    def renew(self) -> None:
        try:
            import minio
            import urllib3
            from minio.credentials.providers import AWSConfigProvider, ChainedProvider, EnvAWSProvider, IamAwsProvider
        except ImportError:
            raise SftoolsError("--client minio needs minio, which is not installed: pip install minio") from None
        keys = credentials(self.options.s3, os.environ, SECRET_DIRECTORIES)
        chain = None if keys else ChainedProvider([EnvAWSProvider(), AWSConfigProvider(), IamAwsProvider()])
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            maxsize=self.options.connections,
            retries=False,
            cert_reqs="CERT_REQUIRED",
            ca_certs=self.options.ca_bundle,
        )
        try:
            self._client = minio.Minio(
                endpoint=self._url.netloc,
                access_key=keys[0] if keys else None,
                secret_key=keys[1] if keys else None,
                credentials=chain,
                secure=self._url.scheme == "https",
                region=self.options.s3.region or "us-east-1",
                http_client=http,
            )
        except ValueError as error:
            raise UsageError(f"S3: {one_line(str(error))}") from None

    def check(self) -> None:
        try:
            self._call("look at it (s3:ListBucket)", "HEAD")
        except NoBucket:
            self._call("create it (s3:CreateBucket)", "PUT")
        except Unavailable:
            raise
        except StoreError:  # which a HEAD's answer has no words for
            query = {"list-type": "2", "max-keys": "1"}
            self._call("look at it (s3:ListBucket)", "GET", "", None, {}, query)

    def head(self, key: str) -> ObjectInfo | None:
        try:
            headers, _ = self._call("ask for an object (s3:GetObject)", "HEAD", key)
        except _NoObject:
            return None
        return told_of({name.lower(): value for name, value in headers.items()}, self.place)

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        response = self._request("read an object (s3:GetObject)", "GET", key)
        try:
            for data in response.stream(_PIECE):
                digest.update(data)
        except Exception as error:
            raise Unavailable(f"{self.place}: reading back breaks off: {one_line(str(error))}") from None
        finally:
            response.close()
            response.release_conn()
        return digest.hexdigest()

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        headers = (
            object_headers(self.options, meta)
            | self._condition(condition)
            | {"Content-MD5": base64.b64encode(part.md5).decode()}
        )
        self._call("write (s3:PutObject)", "PUT", key, part.all(), headers)

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        _, body = self._call(
            "write (s3:PutObject)", "POST", key, b"", object_headers(self.options, meta), {"uploads": ""}
        )
        return self._text(_parse(body, self.place), "UploadId")

    def put_part(self, key: str, upload: str, part: Part) -> str:
        query = {"partNumber": str(part.number), "uploadId": upload}
        headers = {"Content-MD5": base64.b64encode(part.md5).decode()}
        answer, _ = self._call("write a part (s3:PutObject)", "PUT", key, part.all(), headers, query)
        return said(answer, "etag", self.place)

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            query = {"uploadId": upload, "part-number-marker": str(marker)}
            root = _parse(
                self._call("list parts (s3:ListMultipartUploadParts)", "GET", key, None, {}, query)[1], self.place
            )
            for part in root.iter("Part"):
                number = int(self._text(part, "PartNumber"))
                found[number] = (self._text(part, "ETag").strip('"'), int(self._text(part, "Size")))
            following = int(root.findtext("NextPartNumberMarker") or 0)
            if root.findtext("IsTruncated") != "true" or following <= marker:
                return found
            marker = following

    def complete(self, key: str, upload: str, etags: Sequence[str], condition: Condition | None) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
            for number, etag in enumerate(etags, 1)
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        headers = {"Content-Type": "application/xml"} | self._condition(condition)
        _, body = self._call("complete an upload (s3:PutObject)", "POST", key, document, headers, {"uploadId": upload})
        root = _parse(body, self.place)
        if root.tag == "Error":  # a failure after the answer began
            raise classify(
                500, root.findtext("Code") or "", f"{self.place}: {one_line(root.findtext('Message') or '')}"
            )

    def abort(self, key: str, upload: str) -> None:
        try:
            self._call("drop an upload (s3:AbortMultipartUpload)", "DELETE", key, None, {}, {"uploadId": upload})
        except (NoUpload, _NoObject):
            return

    def uploads(self, key: str) -> list[str]:
        query = {"uploads": "", "prefix": key, "max-uploads": "1000"}
        try:
            _, body = self._call("list uploads (s3:ListBucketMultipartUploads)", "GET", "", None, {}, query)
        except NoUpload:  # rclone's word for none
            return []
        found = _parse(body, self.place).iter("Upload")
        return [self._text(each, "UploadId") for each in found if each.findtext("Key") == key]

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        return False

    def _text(self, element: ElementTree.Element, name: str) -> str:
        text = element.findtext(name)
        if not text:
            raise Unavailable(f"{self.place}: does not answer as S3 does (no {name})")
        return text

    def _condition(self, condition: Condition | None) -> dict[str, str]:
        return {} if condition is None else dict([condition.header(self.quoted)])

    def _call(
        self,
        action: str,
        method: str,
        key: str = "",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        response = self._request(action, method, key, data, headers, query)
        try:
            body = response.read(MAX_S3_ANSWER_BYTES + 1)
        except Exception as error:
            response.close()
            raise Unavailable(f"{self.place}: the answer breaks off: {one_line(str(error))}") from None
        if len(body) > MAX_S3_ANSWER_BYTES:
            response.close()
            raise Unavailable(f"{self.place}: does not answer as S3 does (more than {MAX_S3_ANSWER_BYTES} bytes)")
        response.release_conn()
        return response.headers, body

    def _request(
        self,
        action: str,
        method: str,
        key: str = "",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """An answer of success, whose body is still to be read."""
        from minio.error import InvalidResponseError, MinioException, S3Error
        from urllib3.exceptions import HTTPError

        try:
            return self._client._execute(
                method,
                self.options.bucket,
                key or None,
                body=data,
                headers=dict(headers or {}),
                query_params=dict(query or {}),
                preload_content=False,
            )
        except S3Error as error:
            code, text = str(error.code), f"{error.code} {error.message}"
            raise self._refused(action, method, key, int(error.response.status), code, text) from None
        except InvalidResponseError as error:  # no content type, or text/xml, as rclone says
            status, code = int(error._code), _code(error._body)
            raise self._refused(action, method, key, status, code, code or f"status {status}") from None
        except ValueError as error:
            raise StoreError(f"{self.place}: {one_line(str(error))}") from None
        except (MinioException, HTTPError, OSError) as error:
            raise Unavailable(f"{self.place}: {one_line(str(error)) or type(error).__name__}") from None
        except Exception as error:  # an answer that is no S3
            raise Unavailable(f"{self.place}: does not answer as S3 does ({type(error).__name__})") from None

    def _refused(self, action: str, method: str, key: str, status: int, code: str, text: str) -> StoreError:
        if code == "NoSuchBucket" or (not key and method == "HEAD" and status == 404):
            return NoBucket(f"{self.place}: there is no such bucket")
        if code in ("NoSuchKey", "ResourceNotFound") or (method == "HEAD" and status == 404):
            return _NoObject(f"{self.place}: no such object")
        if status < 300:
            return Unavailable(f"{self.place}: does not answer as S3 does")
        return classify(status, code, f"{self.place}: may not {action}: {one_line(text)}")


class _NoObject(StoreError):
    pass


def _code(body: str | None) -> str:
    """The code in an error document of S3; "" where it is none."""
    found = re.search("<Code>([A-Za-z0-9]{1,64})</Code>", body or "")
    return found[1] if found else ""


def _parse(body: bytes, place: str) -> ElementTree.Element:
    """An answer's XML without its namespace. Raises Unavailable."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:  # entities that expand without end
        raise Unavailable(f"{place}: does not answer as S3 does (XML with entities)")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise Unavailable(f"{place}: does not answer as S3 does (no XML)") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
