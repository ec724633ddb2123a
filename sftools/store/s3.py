"""S3 and what speaks like it, to read from: lists buckets and streams their objects. What writes is boto_store.

Objects are read as they arrive: memory does not grow with their size. A connection that breaks is resumed where it
broke; an object that is replaced meanwhile is noticed by its ETag.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sftools.errors import InputError, SftoolsError, UsageError
from sftools.limits import MAX_S3_OBJECTS, MAX_SECRET_CHARS
from sftools.source import Source, open_stored

INSTALL = "pip install 'sftools[s3]'"
SECRET_DIRECTORIES = ("/run/secrets", "/run/secrets/k8s")

# How often a request is sent before it counts as failed, and a broken download resumed without a MiB in between.
_ATTEMPTS = 3
_RESUMES = 5
_RESUME_PROGRESS = 1 << 20
_RESUME_SECONDS = 0.2
_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_PIECE = 256 * 1024
_HOST = re.compile(r"[\w.:%-]+")  # names, IPv4 and IPv6 addresses, with zones


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where the store is and who asks. What is None comes from the environment, as `settled` and `credentials` have it.

    endpoint: host, host:port or URL; None is AWS. port: by default 443, 80 without TLS. secure: with TLS (so it is by
    default); a URL says it by itself. path_style: the bucket in the path instead of the host name; by default where an
    endpoint is given.
    """

    endpoint: str | None = None
    port: int | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    secure: bool | None = None
    region: str | None = None
    path_style: bool | None = None


_BOOLS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}


def settled(options: S3Options, environ: Mapping[str, str]) -> S3Options:
    """The options with what S3_ENDPOINT, S3_PORT, S3_SECURE, S3_REGION and S3_PATH_STYLE say where they say nothing.

    Raises UsageError for a port or a yes or no that is none. An empty variable is none.
    """

    def wanted(name: str, given: Any, convert: Callable[[str], Any] = str) -> Any:
        text = environ.get(name, "").strip()
        if given is not None or not text:
            return given
        try:
            return convert(text)
        except (KeyError, ValueError):
            raise UsageError(f"{name}={text!r}: {'a number' if convert is int else 'yes or no'} is wanted") from None

    def yes(text: str) -> bool:
        return _BOOLS[text.lower()]

    return replace(
        options,
        endpoint=wanted("S3_ENDPOINT", options.endpoint),
        port=wanted("S3_PORT", options.port, int),
        secure=wanted("S3_SECURE", options.secure, yes),
        region=wanted("S3_REGION", options.region),
        path_style=wanted("S3_PATH_STYLE", options.path_style, yes),
    )


class S3Object(NamedTuple):
    """An object as listed. size: in bytes."""

    bucket: str
    key: str
    size: int

    @property
    def name(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class S3Error(InputError):
    """What a store, or the way to it, does not allow."""


def endpoint_url(options: S3Options) -> str | None:
    """The endpoint as a URL, None for AWS. Raises UsageError."""
    if not options.endpoint:
        return None
    given = options.endpoint
    url = given if "://" in given else f"{'http' if options.secure is False else 'https'}://{given}"
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", options.port or parts.port
    except ValueError:
        name, port = "", None
    if not _HOST.fullmatch(name) or parts.scheme not in ("http", "https") or parts.username or parts.path.strip("/"):
        shown = repr(given) if "@" not in given else "with a user"  # and perhaps a password
        raise UsageError(f"S3 endpoint {shown}: a host, host:port or http(s)://host:port is wanted")
    host = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def credentials(options: S3Options, environ: Mapping[str, str], directories: tuple[str, ...]) -> tuple[str, str] | None:
    """Access key and secret key; None leaves them to the AWS chain (AWS_* variables, profiles, instance roles).

    Each comes from the options, else from S3_ACCESS_KEY and S3_SECRET_KEY, else (unless AWS_ACCESS_KEY_ID is set) from
    files s3_access_key and s3_secret_key in `directories`. Raises UsageError where one is there without the other.
    """
    # Kubernetes' secrets often end in a newline, which somebody's echo has put there.
    access = (options.access_key or environ.get("S3_ACCESS_KEY", "")).strip()
    secret = (options.secret_key or environ.get("S3_SECRET_KEY", "")).strip()
    if not access and not secret and environ.get("AWS_ACCESS_KEY_ID"):
        return None
    access = access or _secret_file("s3_access_key", directories)
    secret = secret or _secret_file("s3_secret_key", directories)
    if bool(access) != bool(secret):
        has, lacks = ("an access", "secret") if access else ("a secret", "access")
        where = f"--s3{lacks}key, S3_{lacks.upper()}_KEY or the file {directories[0]}/s3_{lacks}_key"
        raise UsageError(f"S3: {has} key without the {lacks} key: {where}")
    return (access, secret) if access else None


def _secret_file(name: str, directories: tuple[str, ...]) -> str:
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            with open(path, encoding="utf-8") as file:
                if text := file.read(MAX_SECRET_CHARS).strip():
                    return text
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InputError(path, f"cannot be read: {why}") from None
    return ""


class S3Store:
    """A connection to a store. Raises UsageError for wrong options, SftoolsError where boto3 is not installed."""

    def __init__(self, options: S3Options) -> None:
        options = settled(options, os.environ)
        url = endpoint_url(options)
        keys = credentials(options, os.environ, SECRET_DIRECTORIES)
        try:
            import boto3
            import botocore.exceptions
            from botocore.config import Config
            from botocore.parsers import ResponseParserError
            from urllib3.exceptions import HTTPError
        except ImportError:
            raise SftoolsError(f"S3 needs boto3, which is not installed: {INSTALL}") from None
        self._errors = botocore.exceptions
        self.breaks = (botocore.exceptions.BotoCoreError, ResponseParserError, HTTPError, OSError)
        """What is raised where a connection breaks, or does not come about."""
        custom = url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.place = custom or "AWS"
        path_style = options.path_style if options.path_style is not None else bool(custom)
        # Clones of S3 fail over the checksums that AWS's own client adds by default since 2025.
        checksums: Any = "when_required" if custom else "when_supported"
        try:
            session = boto3.session.Session()
            self._client: Any = session.client(
                "s3",
                endpoint_url=url,
                region_name=options.region or session.region_name or "us-east-1",
                aws_access_key_id=keys[0] if keys else None,
                aws_secret_access_key=keys[1] if keys else None,
                config=Config(
                    s3={"addressing_style": "path" if path_style else "auto"},
                    signature_version="s3v4",
                    request_checksum_calculation=checksums,
                    response_checksum_validation=checksums,
                    retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                ),
            )
        except (self._errors.BotoCoreError, ValueError) as error:
            raise S3Error("S3", self.explain(error)[0]) from None

    def list(self, bucket: str, prefix: str = "") -> Iterator[S3Object]:
        """All objects whose keys begin with `prefix`, in the order of the store. Raises S3Error."""
        name = f"s3://{bucket}/{prefix}"
        seen = 0
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", ()):
                    seen += 1
                    if seen > MAX_S3_OBJECTS:
                        raise S3Error(name, f"holds more than {MAX_S3_OBJECTS} objects", hint="name a longer prefix")
                    yield S3Object(bucket, entry["Key"], int(entry["Size"]))
        except (*self.breaks, self._errors.ClientError) as error:
            raise S3Error(name, *self.explain(error)) from None
        except (KeyError, ValueError, TypeError):
            raise S3Error(name, f"{self.place} answers with something that is no list of objects") from None

    def open(self, found: S3Object) -> Source:
        """An object's bytes, decompressed where they are compressed. Raises S3Error, also while it is read."""
        return open_stored(_Body(self, found), found.name, found.size)

    def get(self, found: S3Object, start: int = 0, etag: str = "") -> tuple[Any, int, str]:
        """A stream of an object's bytes from `start` on, how many these are, and the object's ETag.

        etag: of the object whose beginning was read. Raises S3Error where it was replaced since, and where this does
        not work otherwise; botocore's and urllib3's errors where another try may.
        """
        wanted: dict[str, str] = {"IfMatch": etag} if etag else {}
        if start:
            wanted["Range"] = f"bytes={start}-"
        try:
            answer = self._client.get_object(Bucket=found.bucket, Key=found.key, **wanted)
        except self._errors.ClientError as error:
            raise S3Error(found.name, *self.explain(error)) from None
        body, new = answer["Body"], str(answer.get("ETag", ""))
        cause = ""
        if etag and new != etag:  # a store that does not know If-Match
            cause = _REPLACED
        elif start and not str(answer.get("ContentRange", "")).startswith(f"bytes {start}-"):
            cause = f"the connection broke, and {self.place} does not resume downloads"
        if cause:
            body.close()
            raise S3Error(found.name, cause, start)
        return body, int(answer["ContentLength"]), new

    def explain(self, error: Exception) -> tuple[str, int | None, str | None]:
        """The cause, no offset, and what to do, for an error of botocore. Without secrets, on one line."""
        errors = self._errors
        if isinstance(error, errors.ClientError):
            described = error.response.get("Error", {})
            code = str(described.get("Code", ""))
            said = f"{code} {described.get('Message', '')}"
            if code.isdecimal() and code not in _CODES:  # no error document of S3, only the status of HTTP
                return f"{self.place} does not answer as S3 does ({code})", None, "is it the right port?"
            cause, hint = _CODES.get(code, (f"{self.place} refuses it: {one_line(said)}", None))
            return cause, None, hint
        if isinstance(error, errors.NoCredentialsError | errors.CredentialRetrievalError):
            return "no credentials for it", None, "S3_ACCESS_KEY and S3_SECRET_KEY, or what the AWS tools use"
        if isinstance(error, errors.PartialCredentialsError):
            return "the AWS settings have one key without the other", None, None
        if isinstance(error, errors.ParamValidationError):
            return "is no name of a bucket or object", None, None
        if isinstance(error, errors.SSLError):
            return f"{self.place} cannot be spoken to with TLS", None, "a wrong port, certificate, or --secure no?"
        if isinstance(error, errors.ConnectTimeoutError | errors.ReadTimeoutError):
            return f"{self.place} does not answer", None, None
        if isinstance(error, errors.EndpointConnectionError | errors.HTTPClientError):
            return f"{self.place} cannot be reached{_reason(error)}", None, None
        return one_line(f"{type(error).__name__}: {error}"), None, None


_REPLACED = "was replaced while it was read"
_CODES: dict[str, tuple[str, str | None]] = {
    "NoSuchBucket": ("there is no such bucket", None),
    "NoSuchKey": ("is gone: it was deleted while it was read", None),
    "AccessDenied": ("access denied", "do these credentials allow it?"),
    "403": ("access denied", "do these credentials allow it?"),
    "InvalidAccessKeyId": ("access denied: the access key is not known there", None),
    "SignatureDoesNotMatch": ("access denied: the secret key is wrong", None),
    "ExpiredToken": ("access denied: the credentials have expired", None),
    "InvalidToken": ("access denied: the session token is not valid", None),
    "RequestTimeTooSkewed": ("access denied: this machine's clock is wrong", None),
    "PermanentRedirect": ("lies in another region", "name it with --s3region"),
    "AuthorizationHeaderMalformed": ("lies in another region", "name it with --s3region"),
    "PreconditionFailed": (_REPLACED, None),
    "412": (_REPLACED, None),
}


def one_line(text: str) -> str:
    """On one line, of bounded length: a server may answer with anything."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


def _reason(error: BaseException | None) -> str:
    """The system's reason, which lies at the bottom of a chain of errors, in parentheses."""
    for _ in range(10):
        if isinstance(error, OSError) and error.strerror:
            return f" ({error.strerror})"
        if error is None:
            break
        inner = getattr(error, "kwargs", {}).get("error") or getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
    return ""


class _Body:
    """An object's bytes as the stored bytes of a source (sftools.source.Stored)."""

    def __init__(self, store: S3Store, found: S3Object) -> None:
        self._store = store
        self._found = found
        self._stream: Any = None
        self._etag = ""
        self._at = 0
        self._end = -1
        self._resumed_at = 0
        self._resumes = 0

    def read(self, size: int, /) -> bytes:
        while self._at != self._end:
            try:
                if self._stream is None:
                    self._stream, left, self._etag = self._store.get(self._found, self._at, self._etag)
                    self._end = self._at + left
                    continue
                data: bytes = self._stream.read(min(size, _PIECE, self._end - self._at))
                if data:
                    self._at += len(data)
                    return data
                raise ConnectionResetError("it was closed")
            except self._store.breaks as error:
                self._resume(error)
        return b""

    def readinto(self, room: memoryview, /) -> int:
        data = self.read(len(room))
        room[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _resume(self, error: Exception) -> None:
        """Get ready to go on after a broken connection; S3Error where that has been tried often enough."""
        self.close()
        if self._at - self._resumed_at >= _RESUME_PROGRESS:
            self._resumes = 0
        self._resumed_at = self._at
        self._resumes += 1
        if self._end < 0:  # without a first answer: botocore itself has tried again
            raise S3Error(self._found.name, *self._store.explain(error)) from None
        if self._resumes > _RESUMES:
            raise S3Error(self._found.name, f"the connection to {self._store.place} keeps breaking", self._at) from None
        time.sleep(_RESUME_SECONDS * 2 ** (self._resumes - 1))
