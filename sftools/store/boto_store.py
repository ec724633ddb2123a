"""A bucket through boto3: one request for each call, its errors as the classes of sftools.store.objects."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from sftools.errors import SftoolsError, UsageError
from sftools.store.direct import DirectRequests, behind_proxy
from sftools.store.objects import (
    Condition,
    Denied,
    NoBucket,
    NoConditions,
    NoUpload,
    ObjectInfo,
    Part,
    StoreError,
    Taken,
    Unavailable,
)
from sftools.store.s3 import INSTALL, SECRET_DIRECTORIES, S3Options, credentials, endpoint_url, one_line

CONNECT_SECONDS = 10
READ_SECONDS = 60
_PIECE = 1 << 20
_META = "x-amz-meta-"

# What new credentials may mend, and what waiting may: S3's codes, or HTTP's where there is no document.
DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClient",
    "401",
    "403",
}
BUSY = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeTooShort",
    "InternalError",
    "ServiceUnavailable",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
    "429",
    "500",
    "502",
    "503",
    "504",
}


@dataclass(frozen=True, slots=True)
class BucketOptions:
    """A bucket and how objects are written to it. What is None or empty is left to the store.

    checksum: when_supported or when_required, boto3's own extra checksums; by default the former on AWS only.
    location: where a bucket that is missing is created.
    """

    s3: S3Options
    bucket: str
    location: str | None = None
    checksum: str | None = None
    ca_bundle: str | None = None
    sse: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    connections: int = 10


def is_aws(endpoint: str | None) -> bool:
    """Whether an endpoint is AWS itself, without a region: boto3 finds the right host better."""
    return not endpoint or endpoint.lower() in ("aws", "s3.amazonaws.com")


def classify(status: int, code: str, line: str) -> StoreError:
    """The error for an answer. status: of HTTP. code: of S3, or the status again. line: for the user."""
    if code in ("PreconditionFailed", "412") or status == 412:
        return Taken(line)
    if code in ("NotImplemented", "501") or status == 501:
        return NoConditions(line)
    if code == "NoSuchUpload":
        return NoUpload(line)
    if code == "NoSuchBucket":
        return NoBucket(line)
    if code in BUSY or status >= 500 or status == 429:
        return Unavailable(line)
    if code in DENIED or status in (401, 403):
        return Denied(line)
    return StoreError(line)


def _of_new_objects(options: BucketOptions) -> list[tuple[str, str, str]]:
    """What a request that makes an object says of it, beside metadata: boto3's name, HTTP's, and the value."""
    kind, _, key = (options.sse or "").partition("=")
    said = [
        ("ContentType", "Content-Type", "application/octet-stream"),
        ("ServerSideEncryption", "x-amz-server-side-encryption", kind),
        ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id", key),
        ("StorageClass", "x-amz-storage-class", options.storage_class or ""),
        ("Tagging", "x-amz-tagging", urlencode(options.tags)),
    ]
    return [each for each in said if each[2]]


def object_headers(options: BucketOptions, meta: Mapping[str, str]) -> dict[str, str]:
    """What a request that makes an object says of it."""
    headers = {f"{_META}{name}": value for name, value in meta.items()}
    return headers | {name: value for _, name, value in _of_new_objects(options)}


def told_of(headers: Mapping[str, str], place: str) -> ObjectInfo:
    """What the answer to a HEAD says of an object. Raises Unavailable."""
    size = said(headers, "content-length", place)
    meta = {name.lower()[len(_META) :]: value for name, value in headers.items() if name.lower().startswith(_META)}
    encrypted = (
        str(headers.get("x-amz-server-side-encryption", "")).startswith("aws:")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    return ObjectInfo(
        int(size) if size.isdecimal() and len(size) < 20 else -1, said(headers, "etag", place), meta, encrypted
    )


def said(answer: Mapping[str, Any], name: str, place: str) -> str:
    """What every answer of S3 has; something between, as a proxy that wants a login, may answer without."""
    value = answer.get(name)
    if value is None or value == "":
        raise Unavailable(f"{place}: does not answer as S3 does (no {name})")
    return str(value).strip('"')


class BotoStore:
    """sftools.store.objects.Store over boto3. Raises UsageError for wrong options, SftoolsError without boto3."""

    def __init__(self, options: BucketOptions) -> None:
        self.options = options
        self.conditions: bool | None = None
        self.quoted = True
        self.keeps_meta = True
        self._custom = None if is_aws(options.s3.endpoint) else endpoint_url(options.s3)
        custom = self._custom or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.place = f"{custom or 'AWS'} bucket {options.bucket}"
        self._aws = not custom or custom.split(":")[1].endswith(".amazonaws.com")
        self._region = options.s3.region
        self._lock = threading.Lock()
        try:
            import botocore.exceptions
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise SftoolsError(f"S3 needs boto3, which is not installed: {INSTALL}") from None
        self._errors = botocore.exceptions
        self._breaks = (botocore.exceptions.BotoCoreError, HTTPError, OSError)
        self._client: Any = None
        self._credentials: Any = None
        self._requests: DirectRequests | None = None
        """None where the way to the bucket is not plain, or the credentials are missing."""
        self._path = ""
        self._etags_are_md5 = False
        self.renew()

    def renew(self) -> None:
        import boto3
        import botocore.session
        from botocore.config import Config
        from botocore.credentials import Credentials
        from botocore.httpsession import get_cert_path

        options = self.options
        keys = credentials(options.s3, os.environ, SECRET_DIRECTORIES)
        checksum = options.checksum or ("when_supported" if self._aws else "when_required")
        path_style = options.s3.path_style if options.s3.path_style is not None else not self._aws
        try:
            core = botocore.session.get_session()
            core.register_component("data_loader", _loader())
            session = boto3.session.Session(botocore_session=core)
            client = session.client(
                "s3",
                endpoint_url=self._custom,
                region_name=self._region or session.region_name or "us-east-1",
                aws_access_key_id=keys[0] if keys else None,
                aws_secret_access_key=keys[1] if keys else None,
                verify=options.ca_bundle,
                config=Config(
                    s3={"addressing_style": "path" if path_style else "auto"},
                    signature_version="s3v4",
                    request_checksum_calculation=checksum,
                    response_checksum_validation=checksum,
                    retries={"mode": "standard", "total_max_attempts": 1},  # trying again is the exporter's matter
                    max_pool_connections=options.connections,
                    connect_timeout=CONNECT_SECONDS,
                    read_timeout=READ_SECONDS,
                    tcp_keepalive=True,
                ),
            )
        except (self._errors.BotoCoreError, ValueError) as error:
            raise UsageError(f"S3: {one_line(str(error))}") from None
        requests = None
        if self._custom is not None and path_style and checksum == "when_required" and not behind_proxy(self._custom):
            bundle = get_cert_path(options.ca_bundle or core.get_config_variable("ca_bundle") or True)
            try:
                requests = DirectRequests(
                    self._custom,
                    client.meta.region_name,
                    bundle,
                    connect=CONNECT_SECONDS,
                    read=READ_SECONDS,
                    connections=options.connections,
                )
            except OSError as error:  # of the bundle
                raise UsageError(f"S3: {bundle}: {error.strerror or error}") from None
            self._path = f"{urlsplit(self._custom).path.rstrip('/')}/{options.bucket}"
        with self._lock:
            self._client = client
            if self._requests is not None:
                self._requests.close()
            self._requests = requests
            self._credentials = Credentials(*keys) if keys else session.get_credentials() if requests else None

    def check(self) -> None:
        try:
            self._call("look at it (s3:ListBucket)", "head_bucket")
        except NoBucket:
            self._create()
        except Unavailable:
            raise
        except StoreError:
            # The answer to a HEAD has no words: whether it is the keys, the clock, the region or a permission that is
            # wrong, only another request tells.
            self._call("look at it (s3:ListBucket)", "list_objects_v2", MaxKeys=1)

    def _create(self) -> None:
        constraint = self.options.location if not self._aws or self.options.location != "us-east-1" else None
        made: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": constraint}} if constraint else {}
        try:
            try:
                self._call("create it", "create_bucket", **made)
            except StoreError as error:
                if not made or "Location" not in str(error):
                    raise
                self._call("create it", "create_bucket")  # servers without this location
        except Denied as error:
            raise Denied(
                f"{error}; bucket {self.options.bucket} is missing, and creating it needs s3:CreateBucket"
            ) from None
        except StoreError as error:
            if "BucketAlready" not in str(error):
                raise

    def head(self, key: str) -> ObjectInfo | None:
        try:
            headers = self._direct("HEAD", key, {})
            if headers is None:
                answer = self._call("ask for an object (s3:GetObject)", "head_object", Key=key)
                headers = answer["ResponseMetadata"]["HTTPHeaders"]
        except _NoObject:
            return None
        return told_of(headers, self.place)

    def sha256(self, key: str) -> str:
        digest = hashlib.sha256()
        answer = self._call("read an object (s3:GetObject)", "get_object", Key=key)
        body, left = answer["Body"], int(self._said(answer, "ContentLength"))
        try:
            while data := body.read(_PIECE):
                digest.update(data)
                left -= len(data)
        except self._breaks as error:
            raise Unavailable(f"{self.place}: reading back breaks off: {one_line(str(error))}") from None
        finally:
            body.close()
        if left:
            raise Unavailable(f"{self.place}: reading back breaks off")
        return digest.hexdigest()

    def put(self, key: str, part: Part, meta: Mapping[str, str], condition: Condition | None) -> None:
        headers = object_headers(self.options, meta) | {"Content-MD5": _text(part.md5)}
        if condition is not None:
            headers |= dict([condition.header(self.quoted)])
        if self._direct("PUT", key, headers, part) is not None:
            return
        self._call(
            "write (s3:PutObject)",
            "put_object",
            Key=key,
            Body=part.all(),
            ContentMD5=_text(part.md5),
            **self._new(meta),
            **self._condition(condition),
        )

    def begin(self, key: str, meta: Mapping[str, str]) -> str:
        answer = self._call("write (s3:PutObject)", "create_multipart_upload", Key=key, **self._new(meta))
        return self._said(answer, "UploadId")

    def put_part(self, key: str, upload: str, part: Part) -> str:
        query = {"partNumber": str(part.number), "uploadId": upload}
        # A server takes long for a Content-MD5 and no part's size is enough: once its ETags are known to be MD5s, they
        # tell the same.
        known = self._etags_are_md5
        headers = self._direct("PUT", key, {} if known else {"Content-MD5": _text(part.md5)}, part, query)
        if headers is not None:
            etag = self._said(headers, "etag")
            self._etags_are_md5 = etag == part.md5.hex()
            if known and etag != part.md5.hex():  # or they are MD5s no longer: the next part has its Content-MD5 again
                raise Unavailable(f"{self.place}: part {part.number} of {key} was damaged on its way")
            return etag
        answer = self._call(
            "write a part (s3:PutObject)",
            "upload_part",
            Key=key,
            UploadId=upload,
            PartNumber=part.number,
            Body=part.all(),
            ContentMD5=_text(part.md5),
        )
        return self._said(answer, "ETag")

    def parts(self, key: str, upload: str) -> dict[int, tuple[str, int]]:
        found: dict[int, tuple[str, int]] = {}
        marker = 0
        while True:
            answer = self._call(
                "list parts (s3:ListMultipartUploadParts)",
                "list_parts",
                Key=key,
                UploadId=upload,
                PartNumberMarker=marker,
            )
            for part in answer.get("Parts", ()):
                found[int(part["PartNumber"])] = (str(part["ETag"]).strip('"'), int(part["Size"]))
            following = int(answer.get("NextPartNumberMarker") or 0)
            if not answer.get("IsTruncated") or following <= marker:
                return found
            marker = following

    def complete(self, key: str, upload: str, etags: Sequence[str], condition: Condition | None) -> None:
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]
        more = self._condition(condition)
        self._call(
            "complete an upload (s3:PutObject)",
            "complete_multipart_upload",
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
            **more,
        )

    def abort(self, key: str, upload: str) -> None:
        with contextlib.suppress(NoUpload, _NoObject):
            self._call("drop an upload (s3:AbortMultipartUpload)", "abort_multipart_upload", Key=key, UploadId=upload)

    def uploads(self, key: str) -> list[str]:
        action = "list uploads (s3:ListBucketMultipartUploads)"
        try:
            answer = self._call(action, "list_multipart_uploads", Prefix=key, MaxUploads=1000)
        except NoUpload:  # rclone's word for none
            return []
        return [str(each["UploadId"]) for each in answer.get("Uploads", ()) if each["Key"] == key]

    def adopt(self, fd: int, path: str, directory: int, key: str) -> bool:
        return False

    def _said(self, answer: Mapping[str, Any], name: str) -> str:
        return said(answer, name, self.place)

    def _new(self, meta: Mapping[str, str]) -> dict[str, Any]:
        return {"Metadata": dict(meta)} | {name: value for name, _, value in _of_new_objects(self.options)}

    def _condition(self, condition: Condition | None) -> dict[str, str]:
        if condition is None:
            return {}
        name, value = condition.header(self.quoted)
        return {name.replace("-", ""): value}

    def _direct(
        self,
        method: str,
        key: str,
        headers: Mapping[str, str],
        part: Part | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Mapping[str, str] | None:
        """The headers of the answer to a request without botocore; None where it does not succeed, or the way to the
        bucket is not a plain one: the client is asked then. Raises Taken, Unavailable, _NoObject.
        """
        with self._lock:
            direct, credentials = self._requests, self._credentials
        if direct is None or credentials is None:
            return None
        try:
            keys = credentials.get_frozen_credentials()
        except Exception:  # new ones cannot be had: the client tells why
            return None
        values = (*headers.values(), keys.access_key, keys.token or "")
        if not all(value.isascii() and value.isprintable() for value in values):
            return None
        try:
            answer = direct.send(keys, method, f"{self._path}/{key}", headers, query, part)
        except Unavailable as error:
            raise Unavailable(f"{self.place}: {one_line(str(error))}") from None
        if method == "HEAD" and answer.status == 404:
            raise _NoObject(f"{self.place}: no such object")
        if answer.status == 412:
            raise Taken(f"{self.place}: {key} is taken")
        return answer.headers if 200 <= answer.status < 300 else None

    def _call(self, action: str, name: str, **given: Any) -> Any:
        """One request. action: what it is for, with the permission that it needs."""
        errors = self._errors
        with self._lock:
            call: Callable[..., Any] = getattr(self._client, name)
        try:
            return call(Bucket=self.options.bucket, **given)
        except errors.ClientError as error:
            response = error.response
            described = response.get("Error", {})
            code = str(described.get("Code", ""))
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if name == "head_bucket" and status == 404:
                raise NoBucket(f"{self.place}: there is no such bucket") from None
            if name in ("head_object", "get_object", "abort_multipart_upload") and code in ("404", "NoSuchKey"):
                raise _NoObject(f"{self.place}: no such object") from None
            if code == "AuthorizationHeaderMalformed" and described.get("Region"):
                self._region = str(described["Region"])  # for the next renew()
            said = one_line(f"{code} {described.get('Message', '')}")
            raise classify(status, code, f"{self.place}: may not {action}: {said}") from None
        except (errors.NoCredentialsError, errors.CredentialRetrievalError, errors.PartialCredentialsError):
            raise Denied(
                f"{self.place}: no credentials: S3_ACCESS_KEY and S3_SECRET_KEY, a secret file, or AWS's"
            ) from None
        except errors.ParamValidationError as error:
            raise StoreError(f"{self.place}: {one_line(str(error))}") from None
        except self._breaks as error:
            raise Unavailable(f"{self.place}: {one_line(str(error)) or type(error).__name__}") from None
        except Exception as error:  # an answer that is no S3: botocore's parsers raise what they like
            raise Unavailable(f"{self.place}: does not answer as S3 does ({type(error).__name__})") from None


@functools.cache
def _loader() -> Any:
    """What botocore knows of S3, read once: new sessions for new credentials would read it again."""
    import botocore.loaders

    return botocore.loaders.create_loader()


class _NoObject(StoreError):
    pass


def _text(md5: bytes) -> str:
    return base64.b64encode(md5).decode()
