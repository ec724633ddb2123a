"""sf-exporter: finished traces to S3 or another directory."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from sftools import __version__
from sftools.errors import ENDING_SIGNALS, UsageError
from sftools.limits import MAX_CONFIG_BYTES
from sftools.render.text import printable
from sftools.tools.command import Command
from sftools.tools.options import Number, OptionalBool, Whole

if TYPE_CHECKING:
    from sftools.export.settings import Settings
    from sftools.store.objects import Store

NAME = "sf-exporter"
MODES = ("move-del", "cont-update", "cont-update-recur")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_PORT = 443
_LOCATION = "us-south"


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make a TOML file's entries the defaults of the options of the same names."""
    if not path:
        return
    import tomllib

    try:
        with open(path, "rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise UsageError(f"{path}: more than {MAX_CONFIG_BYTES} bytes are no list of options")
        given = tomllib.loads(text.decode())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} at offset {error.start}: is no UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # tomllib.TOMLDecodeError is a ValueError, as are numbers too long
        raise UsageError(f"{path}: {error}") from None
    options = {option.opts[0].removeprefix("--"): option for option in context.command.params}
    defaults = {}
    for name, value in given.items():
        option = options.get(name.replace("_", "-"))
        if option is None or option.name == "config":
            raise UsageError(f"{path}: there is no option --{name}")
        items = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
        if any(isinstance(each, list | dict) or "," in str(each) for each in items):
            raise UsageError(f"{path}: {name}: lists are of plain values without commas")
        if isinstance(value, list):
            value = ",".join(str(each) for each in value)
        elif isinstance(value, dict):
            value = ",".join(f"{each}={text}" for each, text in value.items())
        wanted = (str, int, float) if option.type is not click.STRING or not isinstance(value, bool) else str
        if not isinstance(value, wanted) or "\0" in str(value):
            raise UsageError(f"{path}: {name}: {value!r} cannot be a value of --{name}")
        defaults[option.name] = value
    if os.environ.get("S3_ACCESS_KEY") or os.environ.get("S3_SECRET_KEY"):  # as for the other options
        defaults.pop("s3accesskey", None)
        defaults.pop("s3secretkey", None)
    context.default_map = defaults


def _amount(min: float = 0) -> Number:
    """Up to a billion: threads cannot wait for ever."""
    return Number(min=min, max=1e9)


@click.command(
    NAME,
    cls=Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[OPTIONS]",
)
@click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    envvar="SF_EXPORTER_CONFIG",
    help="Options from a TOML file.",
)
@click.option(
    "--exporttype", type=click.Choice(["s3", "local"]), default="s3", envvar="EXPORT_TYPE", help="Where to. [s3]"
)
@click.option(
    "--dir",
    "directories",
    default="/mnt/data",
    envvar="DIR",
    metavar="A,B,...",
    help="Watched directories. [/mnt/data]",
)
@click.option("--todir", default="", envvar="TODIR", metavar="A,B,...", help="For --exporttype local: where files go.")
@click.option("--mode", default="move-del", envvar="MODE", metavar="A,B,...", help=f"{', '.join(MODES)}. [move-del]")
@click.option(
    "--s3endpoint",
    default="localhost",
    envvar="S3_ENDPOINT",
    metavar="HOST",
    help="S3 server; aws is AWS itself. [localhost]",
)
@click.option("--s3port", type=Whole(1, 65535), default=None, envvar="S3_PORT", metavar="PORT", help="Its port. [443]")
@click.option(
    "--s3accesskey", default=None, metavar="KEY", help="Better S3_ACCESS_KEY or a secret file: others see options."
)
@click.option(
    "--s3secretkey", default=None, metavar="KEY", help="Better S3_SECRET_KEY or a secret file: others see options."
)
@click.option("--s3bucket", default="telemetry", envvar="S3_BUCKET", metavar="A,B,...", help="Buckets. [telemetry]")
@click.option(
    "--s3location",
    default=None,
    envvar="S3_LOCATION",
    metavar="NAME",
    help="Region of buckets. [us-south, but for AWS]",
)
@click.option("--s3prefix", default="", envvar="S3_PREFIX", metavar="TEXT", help="What keys begin with.")
@click.option("--secure", type=OptionalBool(), default=True, metavar="[BOOL]", envvar="SECURE", help="With TLS. [yes]")
@click.option(
    "--scaninterval",
    type=_amount(0.05),
    default=1.0,
    envvar="INTERVAL",
    metavar="S",
    help="Between scans. [1]",
)
@click.option(
    "--timeout",
    type=_amount(),
    default=5.0,
    envvar="TIMEOUT",
    metavar="S",
    help="It ends within this time when told to. [5]",
)
@click.option(
    "--agemin",
    type=_amount(),
    default=60.0,
    envvar="AGEMIN",
    metavar="MIN",
    help="With --allow-drop: files this old that cannot be sent. [60]",
)
@click.option(
    "--allow-drop",
    is_flag=True,
    envvar="ALLOW_DROP",
    help="Remove files that could not be sent for --agemin. LOSES them.",
)
@click.option(
    "--log",
    "level",
    type=click.Choice(LEVELS, case_sensitive=False),
    default="INFO",
    envvar="LOG",
    help="What is told. [INFO]",
)
@click.option("--nodename", default="", envvar="NODE_NAME", metavar="TEXT", help="In the key and the metadata.")
@click.option("--nodeip", default="", envvar="NODE_IP", metavar="TEXT", help="In the key and the metadata.")
@click.option("--podname", default="", envvar="POD_NAME", metavar="TEXT", help="In the metadata.")
@click.option("--podip", default="", envvar="POD_IP", metavar="TEXT", help="In the metadata.")
@click.option("--podservice", default="", envvar="POD_SERVICE", metavar="TEXT", help="In the metadata.")
@click.option("--podns", default="", envvar="POD_NAMESPACE", metavar="TEXT", help="In the metadata.")
@click.option("--poduuid", default="", envvar="POD_UUID", metavar="TEXT", help="In the metadata.")
@click.option("--clusterid", default="", envvar="CLUSTER_ID", metavar="TEXT", help="In the key.")
@click.option("--once", is_flag=True, help="Export what is finished, and end; for cron.")
@click.option("--dry-run", is_flag=True, help="Print what would be exported, and end.")
@click.option(
    "--settle",
    type=_amount(),
    default=300.0,
    envvar="SETTLE",
    metavar="S",
    help="Without change for so long, a file is finished. [300]",
)
@click.option(
    "--compress",
    type=click.Choice(["none", "gzip", "zstd"]),
    default="none",
    envvar="COMPRESS",
    help="On the way. [none]",
)
@click.option("--rate", metavar="BYTES/S", default=None, envvar="RATE", help="At most; 500k, 2M, 1Mi are understood.")
@click.option(
    "--jobs",
    type=Whole(1, 256),
    default=64,
    envvar="JOBS",
    metavar="N",
    help="Files at once, for each directory; 32 MiB of memory for all of them. [64]",
)
@click.option(
    "--metrics-file", metavar="FILE", envvar="METRICS_FILE", help="Numbers for Prometheus's textfile collector."
)
@click.option("--health-file", metavar="FILE", envvar="HEALTH_FILE", help="How it is, as JSON.")
@click.option(
    "--client", type=click.Choice(["boto3", "minio"]), default="boto3", envvar="CLIENT", help="The S3 library. [boto3]"
)
@click.option(
    "--s3checksum",
    type=click.Choice(["when_supported", "when_required"]),
    default=None,
    envvar="S3_CHECKSUM",
    help="boto3's checksums. [when_required, but for AWS]",
)
@click.option("--sse", metavar="KIND", default=None, envvar="S3_SSE", help="AES256, aws:kms or aws:kms=KEY.")
@click.option("--storage-class", metavar="NAME", default=None, envvar="S3_STORAGE_CLASS", help="Of the objects.")
@click.option("--tags", metavar="K=V,...", default="", envvar="S3_TAGS", help="Of the objects.")
@click.option(
    "--path-style/--no-path-style", default=None, envvar="S3_PATH_STYLE", help="Bucket in the path. [yes, but for AWS]"
)
@click.option("--ca-bundle", metavar="FILE", default=None, envvar="S3_CA_BUNDLE", help="Certificates to trust.")
@click.version_option(__version__, "-v", "--version", message="%(version)s")
def main(**given: Any) -> int:
    """Ship finished traces to S3 or to another directory, and lose none.

    \b
    sf-exporter --dir /var/traces --s3endpoint minio.lan --s3bucket telemetry
    sf-exporter --dir /var/traces --exporttype local --todir /mnt/archive --once

    Options are read from the environment too, and from a TOML file (--config). The keys come from S3_ACCESS_KEY and
    S3_SECRET_KEY, from the files s3_access_key and s3_secret_key in /run/secrets or /run/secrets/k8s, else from what
    AWS's tools use.

    Exit status: 0 done, 1 an error, 2 wrong usage, 3 with --once: some files could not be exported.
    """
    from sftools.export.service import Exporter

    _log_to_stderr(given["level"].upper())
    settings = _settings(given)
    exporter = Exporter(settings)

    def end(number: int, frame: object) -> None:
        exporter.stop.set()

    for number in ENDING_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
    exporter.start()
    status = exporter.run()
    if exporter.hangs:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(status)  # a request hangs; what it does is gone on with at the next start
    return status


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text, trace = record.exc_text, record.exc_info
        record.exc_text = record.exc_info = None
        try:
            line = printable(super().format(record))
        finally:
            record.exc_text, record.exc_info = text, trace
        return f"{line}\n{self.formatException(trace)}" if trace else line


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger(NAME)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


# -- what was asked for


def _settings(given: dict[str, Any]) -> Settings:
    from sftools.export.files import SUFFIXES
    from sftools.export.names import KeyRule
    from sftools.export.settings import LaneSettings, Settings

    directories = _list(given["directories"], "--dir")
    modes = _list(given["mode"], "--mode")
    for mode in modes:
        if mode not in MODES:
            raise UsageError(f"--mode: {mode} is none of {', '.join(MODES)}")
    local = given["exporttype"] == "local"
    if local and not given["todir"]:
        raise UsageError("--exporttype local needs --todir")
    targets = _list(given["todir"], "--todir") if local else _list(given["s3bucket"], "--s3bucket")
    count = max(len(directories), len(targets), len(modes))
    if any(len(each) not in (1, count) for each in (directories, targets, modes)):
        what = "target directories" if local else "buckets"
        raise UsageError(
            f"{len(directories)} directories, {len(targets)} {what} and {len(modes)} modes: the numbers must agree, "
            "or be 1"
        )
    if len(directories) == 1 and count > 1:
        raise UsageError("one directory cannot be exported to several places or in several modes")
    rule = KeyRule(
        given["s3prefix"], given["clusterid"], given["nodename"], given["nodeip"], SUFFIXES[given["compress"]]
    )
    _check_overlaps(directories, modes, targets if local else [], os.path.dirname(rule.key("NAME")))
    for option in ("metrics_file", "health_file"):
        _check_outside(given[option], "--" + option.replace("_", "-"), directories, modes)
    if given["ca_bundle"]:
        _check_certificates(given["ca_bundle"])
    make = partial(_local, given) if local else partial(_bucket, given)
    lanes = tuple(
        LaneSettings(directory, modes[n % len(modes)], _maker(make, targets[n % len(targets)]))
        for n, directory in enumerate(directories)
    )
    meta_names = ("nodename", "nodeip", "podname", "podip", "podservice", "podns", "poduuid")
    return Settings(
        lanes,
        rule,
        {name: given[name] for name in meta_names},
        given["compress"],
        given["scaninterval"],
        given["settle"],
        given["timeout"],
        given["agemin"],
        given["allow_drop"],
        _rate(given["rate"]),
        given["jobs"],
        given["once"] or given["dry_run"],
        given["dry_run"],
        given["metrics_file"],
        given["health_file"],
    )


def _maker(make: Callable[[str], Store], target: str) -> Callable[[], Store]:
    return lambda: make(target)


def _list(text: str, option: str) -> list[str]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{option} is empty")
    return parts


def _watches(directory: str, mode: str, other: str) -> bool:
    """Whether files in the directory `other` are files to export. Paths as os.path.realpath has them."""
    return other == directory or (mode == "cont-update-recur" and other.startswith(directory.rstrip("/") + "/"))


def _check_overlaps(directories: list[str], modes: list[str], targets: list[str], begin: str) -> None:
    """A file must not be found twice, and not where it was moved to. begin: directories that all keys begin with."""
    paths = [os.path.realpath(directory) for directory in directories]
    for n, outer in enumerate(paths):
        mode = modes[n % len(modes)]
        for m, inner in enumerate(paths):
            if n != m and _watches(outer, mode, inner):
                raise UsageError(f"{directories[m]} is watched twice")
        for target in targets:
            if any(_watches(outer, mode, os.path.realpath(to)) for to in (target, os.path.join(target, begin))):
                raise UsageError(f"--todir {target}: files arrive in {directories[n]}, which is exported")


def _check_outside(path: str | None, option: str, directories: list[str], modes: list[str]) -> None:
    """A file of ours must not be exported."""
    for n, directory in enumerate(directories):
        where = os.path.dirname(os.path.realpath(path)) if path else ""
        if path and _watches(os.path.realpath(directory), modes[n % len(modes)], where):
            raise UsageError(f"{option} {path} lies in {directory}, which is exported")


def _check_certificates(path: str) -> None:
    import ssl

    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        why = "there are no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(f"--ca-bundle {path}: {why}") from None


def _rate(text: str | None) -> float | None:
    if not text:
        return None
    import re

    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]?i?)b?(?:/s)?", str(text).strip().lower())
    if not found or found[2] not in _UNITS or not float(found[1]):
        raise UsageError(f"--rate {text}: a number of bytes per second is wanted, as 500k or 2M")
    return float(found[1]) * _UNITS[found[2]]


def _local(given: dict[str, Any], target: str) -> Store:
    from sftools.store.directory import DirectoryStore

    return DirectoryStore(target)


def _bucket(given: dict[str, Any], bucket: str) -> Store:
    from sftools.store.boto_store import BotoStore, BucketOptions, is_aws
    from sftools.store.s3 import S3Options

    endpoint = given["s3endpoint"]
    aws = is_aws(endpoint)
    location = given["s3location"] or (None if aws else _LOCATION)
    tags = {}
    for each in given["tags"].split(","):
        if each.strip():
            name, equals, value = each.partition("=")
            if not equals or not name.strip():
                raise UsageError(f"--tags {each}: NAME=VALUE is wanted")
            tags[name.strip()] = value.strip()
    options = BucketOptions(
        S3Options(
            None if aws else endpoint,
            given["s3port"] or (None if aws or "://" in endpoint or _names_port(endpoint) else _PORT),
            given["s3accesskey"],
            given["s3secretkey"],
            given["secure"],
            location,
            given["path_style"],
        ),
        bucket,
        location,
        given["s3checksum"],
        given["ca_bundle"],
        given["sse"],
        given["storage_class"],
        tags,
        given["jobs"] + 2,
    )
    if given["client"] == "minio":
        from sftools.store.minio_store import MinioStore

        return MinioStore(options)
    return BotoStore(options)


def _names_port(endpoint: str) -> bool:
    """Whether HOST:PORT is given, and not HOST, nor [IPv6]."""
    return ":" in endpoint.rpartition("]")[2]


if __name__ == "__main__":
    main()
