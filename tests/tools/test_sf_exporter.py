"""The command: options, exit statuses, signals, the lock, the files that go with it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from sftools.tools.sf_exporter import main

ROOT = Path(__file__).parents[2]
OPTIONS = """
exporttype s3endpoint s3port s3accesskey s3secretkey s3bucket s3location s3prefix secure scaninterval timeout agemin log
dir mode todir nodename nodeip podname podip podservice podns poduuid clusterid once dry-run compress settle rate jobs
metrics-file health-file config client s3checksum sse storage-class tags path-style ca-bundle allow-drop
"""


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], env=env)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"171455760{n}").write_bytes(b"%d" % n)
    return tmp_path


def local(place: Path, *more: str | Path) -> list[str | Path]:
    return ["--exporttype", "local", "--dir", place / "in", "--todir", place / "out", "--once", *more]


def files(directory: Path) -> list[str]:
    return sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and ".sf-exporter" not in path.parts
    )


def test_all_options_are_there() -> None:
    said = run("--help").output
    assert [name for name in OPTIONS.split() if not re.search(rf"--{name}\b", said)] == []


def test_local(place: Path) -> None:
    result = run(*local(place, "--nodeip", "10.0.0.1"))
    assert result.exit_code == 0
    assert files(place / "in") == ["1714557602"]
    day = "10.0.0.1/2024/05/01/"
    assert files(place / "out") == [day + "1714557600.10.0.0.1.sf", day + "1714557601.10.0.0.1.sf"]


def test_settled(place: Path) -> None:
    assert run(*local(place, "--settle", "0")).exit_code == 0
    assert files(place / "in") == []
    assert len(files(place / "out")) == 3


def test_dry_run(place: Path) -> None:
    result = run(*local(place, "--dry-run"))
    assert "move '1714557600' -> 2024/05/01/1714557600.sf" in result.stdout
    assert len(files(place / "in")) == 3


def test_dry_run_that_cannot_be_printed(place: Path) -> None:
    """It is not the directory that is full."""
    command = [sys.executable, "-m", "sftools.tools.sf_exporter", *local(place, "--dry-run")]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (result.returncode, b"ERROR stdout: cannot be written: No space left" in result.stderr) == (3, True)


def test_compressed(place: Path) -> None:
    run(*local(place, "--compress", "gzip"))
    assert files(place / "out")[0] == "2024/05/01/1714557600.sf.gz"


def test_settings_from_a_file_and_the_environment(place: Path) -> None:
    config = place / "config.toml"
    config.write_text(f'exporttype = "local"\ndir = ["{place}/in"]\nnodename = "file"\nnodeip = "file"\n')
    env = {"TODIR": str(place / "out"), "NODE_IP": "environment", "NODE_NAME": "environment"}
    run("--config", config, "--once", "--nodeip", "option", env=env)
    assert files(place / "out")[0] == "environment/option/2024/05/01/1714557600.option.sf"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--mode", "other"], "--mode"),
        (["--dir", "a,b", "--todir", "c,d,e"], "numbers must agree"),
        (["--rate", "fast"], "--rate"),
        (["--config", "/nowhere.toml"], "/nowhere.toml"),
        (["--dir", "/a,/a", "--todir", "/b,/c"], "watched twice"),
        (["--dir", "/a,/a/b", "--mode", "cont-update-recur"], "watched twice"),
        (["--dir", "/a/b", "--todir", "/a", "--s3prefix", "b"], "files arrive in /a/b"),
        (["--dir", "/a", "--todir", "/a/b", "--mode", "cont-update-recur"], "files arrive in /a"),
        (["--dir", "/a", "--health-file", "/a/health"], "--health-file /a/health lies in /a"),
        (["--dir", "/a", "--metrics-file", "/a/b/../m.prom"], "--metrics-file"),
        (["--dir", "/a", "--metrics-file", "/a/b/m.prom", "--mode", "cont-update-recur"], "--metrics-file"),
        (["--ca-bundle", "/nowhere.pem"], "No such file"),
        (["--ca-bundle", __file__], "there are no certificates"),
        (["--settle", "nan"], "'--settle': 'nan' is not a valid number"),
        (["--scaninterval", "inf"], "--scaninterval"),
        (["--timeout", "-1"], "--timeout"),
    ],
)
def test_wrong_usage(more: list[str], said: str, place: Path) -> None:
    result = run(*local(place), *more)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(files(place / "in")) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dir = [", "Invalid value"),
        ("dir = ['a,b']", "without commas"),
        ("dir = [['a']]", "plain values"),
        ("other = 1", "no option --other"),
        ("config = 'x'", "no option --config"),
        ("s3port = 'x'", "--s3port"),
        ("jobs = 0", "--jobs"),
        ("s3endpoint = '\xff'", "at offset 14: is no UTF-8 text"),
        ("settle = 2024-01-01", "settle: datetime.date(2024, 1, 1) cannot be a value of --settle"),
        ("dir = true", "dir: True cannot be a value of --dir"),
        ('todir = "a\\u0000b"', "cannot be a value of --todir"),
        ('"a\\nb" = 1', r"no option --a\x0ab"),
        ("once = 'perhaps'", "--once"),
        ("jobs = " + "9" * 5000, "Exceeds the limit"),
        ("dir = " + "[" * 5000, "recursion"),
        ("#" * (1 << 20) + "#", "more than 1048576 bytes"),
    ],
)
def test_a_file_of_settings_that_is_wrong(text: str, said: str, place: Path) -> None:
    config = place / "config.toml"
    config.write_text(text, encoding="latin-1")
    result = run("--config", config, *[each for each in local(place) if each != "--once"])
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(files(place / "in")) == 3


def given_keys(*arguments: str | Path, env: dict[str, str]) -> tuple[str, str] | None:
    """Access and secret key with which S3 is asked."""
    from sftools.store import boto_store

    class Asked(Exception):
        pass

    found: list[tuple[str, str] | None] = []
    credentials = boto_store.credentials

    def ask(*given: Any) -> None:
        found.append(credentials(*given))
        raise Asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto_store, "credentials", ask)
        assert isinstance(run("--once", *arguments, env=env).exception, Asked)
    return found[0]


def test_which_keys_are_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option's, else the environment's, else those of --config, else a secret file's, else AWS's."""
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    secrets = place / "secrets"
    (secrets / "k8s").mkdir(parents=True)
    monkeypatch.setattr("sftools.store.boto_store.SECRET_DIRECTORIES", (str(secrets), str(secrets / "k8s")))
    config = place / "config.toml"
    config.write_text("s3accesskey = 'file'\ns3secretkey = 'file secret'\n")
    environment = {"S3_ACCESS_KEY": "environment", "S3_SECRET_KEY": "environment secret"}
    options = ["--s3accesskey", "option", "--s3secretkey", "option secret"]
    assert given_keys(env={"X": ""}) is None
    (secrets / "k8s" / "s3_access_key").write_text("secret\n")
    (secrets / "k8s" / "s3_secret_key").write_text("secret secret\n")
    assert given_keys(env={"X": ""}) == ("secret", "secret secret")
    assert given_keys("--config", config, env={"X": ""}) == ("file", "file secret")
    assert given_keys("--config", config, env=environment) == ("environment", "environment secret")
    assert given_keys("--config", config, *options, env=environment) == ("option", "option secret")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("h", "https://h:443"),
        ("h:9000", "https://h:9000"),
        ("[::1]", "https://[::1]:443"),
        ("[::1]:9000", "https://[::1]:9000"),
        ("http://h", "http://h"),
        ("http://h:9000", "http://h:9000"),
    ],
)
def test_endpoints(endpoint: str, url: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    from sftools.store.boto_store import BotoStore
    from sftools.store.objects import Denied

    def refuse(store: BotoStore) -> None:
        raise Denied(store.place)

    monkeypatch.setattr(BotoStore, "check", refuse)
    env = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    result = run("--dir", place / "in", "--once", "--s3endpoint", endpoint, env=env)
    assert result.stderr.endswith(f": {url} bucket telemetry\n")


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    result = run("--exporttype", "local", "--dir", tmp_path / "in", "--todir", tmp_path / "out", "--once")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_files_of_which_the_kernel_does_not_tell(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, or on a file system without leases: those that are old enough go, each time it runs."""
    for module in ("scan", "ship"):
        monkeypatch.setattr(f"sftools.export.{module}.being_written", lambda fd: None)
    assert run(*local(place, "--settle", "60")).exit_code == 0
    assert len(files(place / "in")) == 3
    for name in ("1714557600", "1714557602"):
        os.utime(place / "in" / name, (1714557600, 1714557600))
    assert run(*local(place, "--settle", "60")).exit_code == 0
    assert files(place / "in") == ["1714557601"]
    assert run(*local(place, "--settle", "0")).exit_code == 0
    assert files(place / "in") == []


def test_a_target_that_may_not_be_written_to(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: "out" not in str(path))  # root may everything
    result = run(*local(place))
    assert result.exit_code == 1
    assert "write and search permission" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert len(files(place / "in")) == 3


def test_two_on_one_directory(place: Path) -> None:
    import fcntl

    fd = os.open(place / "in", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    result = run(*local(place))
    os.close(fd)
    assert result.exit_code == 1
    assert "another sf-exporter" in result.stderr
    assert run(*local(place)).exit_code == 0


def test_health_and_metrics(place: Path) -> None:
    run(*local(place, "--health-file", place / "health", "--metrics-file", place / "metrics"))
    (lane,) = json.loads((place / "health").read_text())["lanes"]
    assert (lane["exported"], lane["pending"]) == (2, 0)
    metrics = (place / "metrics").read_text()
    assert re.search(r'^sf_exporter_exported_files_total\{dir=".*"\} 2$', metrics, re.M)
    assert re.search(r'^sf_exporter_pending_files\{dir=".*"\} 0$', metrics, re.M)


def test_a_signal_ends_it(place: Path) -> None:
    words = [sys.executable, "-m", "sftools.tools.sf_exporter", *map(str, local(place))]
    words.remove("--once")
    log = place / "log"
    with log.open("wb") as output, subprocess.Popen(words, stderr=output) as process:
        try:
            end = time.monotonic() + 60
            while b"1714557601 ->" not in log.read_bytes():
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_a_server_that_is_down_loses_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("boto3")
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.001)
    arguments = ["--dir", place / "in", "--once", "--s3endpoint", "http://127.0.0.1:1"]
    env = {"S3_ACCESS_KEY": "the-key", "S3_SECRET_KEY": "the-secret"}
    result = run(*arguments, env=env)
    assert result.exit_code == 3
    assert len(files(place / "in")) == 3
    assert "the-secret" not in result.output


def test_a_target_that_fails_now_and_then(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sftools.store.directory import DirectoryStore
    from sftools.store.objects import Unavailable

    complete, works = DirectoryStore.adopt, {"1714557600"}

    def adopt(self: DirectoryStore, fd: int, path: str, directory: int, key: str) -> bool:
        if path not in works:
            raise Unavailable("No space left on device")
        return complete(self, fd, path, directory, key)

    monkeypatch.setattr(DirectoryStore, "adopt", adopt)
    monkeypatch.setattr("sftools.export.lane.FIRST_BACKOFF", 0.001)
    assert run(*local(place, "--settle", "0")).exit_code == 3
    assert files(place / "in") == ["1714557601", "1714557602"]
    works |= {"1714557601", "1714557602"}
    assert run(*local(place, "--settle", "0")).exit_code == 0
    assert files(place / "in") == []


@pytest.mark.parametrize("client", ["boto3", "minio"])
def test_to_a_real_server(client: str, place: Path, s3_server: Any) -> None:
    pytest.importorskip(client)
    env = {"S3_ACCESS_KEY": s3_server.access_key, "S3_SECRET_KEY": s3_server.secret_key}
    arguments = ["--dir", place / "in", "--once", "--s3endpoint", s3_server.url, "--jobs", "1", "--client", client]
    result = run(*arguments, "--s3bucket", f"new-{client}", env=env)
    assert result.exit_code == 0, result.output
    assert files(s3_server.root / f"new-{client}") == ["2024/05/01/1714557600.sf", "2024/05/01/1714557601.sf"]
    assert files(place / "in") == ["1714557602"]


# -- the files that go with it

PACKAGING = ROOT / "packaging"
# Stands in for the command: tells its words, and what it has in its environment.
STAND_IN = """#!/bin/sh
for word; do echo "$word"; done
echo "$S3_ENDPOINT $S3_ACCESS_KEY $S3_SECRET_KEY"
"""


def understood(words: list[str]) -> bool:
    """Whether the command takes these options. Raises click.UsageError."""
    with main.make_context("sf-exporter", words):
        return True


def variables() -> set[str]:
    return {str(parameter.envvar) for parameter in main.params if parameter.envvar}


def told(shell: str, place: Path, **environment: str) -> list[str]:
    """What the command is told where a shell runs `shell`: its options, then endpoint and keys."""
    stand_in = place / "sf-exporter"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    environment |= {"PATH": f"{place}:/usr/bin:/bin"}
    done = subprocess.run(
        ["/bin/sh", "-ec", shell], env=environment, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.splitlines()


def unit() -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None, strict=False)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read(PACKAGING / "sf-exporter.service")
    return read


def test_the_unit(tmp_path: Path) -> None:
    """Its shell line gives the keys in the environment, and options that there are."""
    read = unit()
    assert set(read.sections()) == {"Unit", "Service", "Install"}
    environment = dict(each.split("=", 1) for each in read["Service"]["Environment"].split())
    assert set(environment) <= variables()
    shell, flag, line = shlex.split(read["Service"]["ExecStart"])
    assert (shell, flag) == ("/bin/sh", "-c")
    for name in ("s3_access_key", "s3_secret_key"):
        (tmp_path / name).write_text(f"the {name}\n")
    *options, last = told(line, tmp_path, CREDENTIALS_DIRECTORY=str(tmp_path), **environment)
    assert understood(options)
    assert last == f"{environment['S3_ENDPOINT']} the s3_access_key the s3_secret_key"


@pytest.mark.parametrize(
    "spoilt", ["", "Restart=sometimes", "TimeoutStopSec=soon", "ProtectSytem=strict", "ExecStart=relative/path"]
)
def test_systemd_understands_the_unit(spoilt: str, tmp_path: Path, missing: Callable[[str], NoReturn]) -> None:
    """And says what it would not."""
    program = shutil.which("systemd-analyze")
    if program is None:
        missing("systemd is not installed")
    copy = tmp_path / "sf-exporter.service"
    text = (PACKAGING / copy.name).read_text()
    copy.write_text(text.replace("[Install]", f"{spoilt}\n[Install]"))
    done = subprocess.run([program, "verify", str(copy)], check=False, capture_output=True, text=True, timeout=60)
    assert (copy.name in done.stderr) is bool(spoilt), done.stderr


def test_the_cron_file(tmp_path: Path) -> None:
    """As crontab(5) has it for /etc/cron.d: variables, then the time in five fields, the user, a shell line."""
    *settings, line = (PACKAGING / "sf-exporter.cron").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Z0-9_]+=\S+", each) for each in settings)
    assert all(each.partition("=")[0] in {*variables(), "PATH"} for each in settings)
    fields = line.split(None, 6)
    ranges = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    for field, (first, last) in zip(fields[:5], ranges, strict=True):
        assert re.fullmatch(r"(\*|\d+)(/\d+)?", field)
        assert all(first <= int(number) <= last for number in re.findall(r"\d+", field.partition("/")[0]))
    assert fields[5] == "root"
    assert "%" not in line  # which is a new line to cron
    *options, last = told(fields[6], tmp_path, **dict(each.split("=", 1) for each in settings))
    assert understood(options)
    assert "--once" in options
    assert last.strip() == "s3.example.org"


def test_the_compose_file() -> None:
    yaml = pytest.importorskip("yaml")
    given = yaml.safe_load((PACKAGING / "compose.yaml").read_text())
    service = given["services"]["exporter"]
    assert set(given) == {"services", "volumes", "secrets"}
    assert set(service["environment"]) <= variables()
    assert set(service["secrets"]) == set(given["secrets"]) == {"s3_access_key", "s3_secret_key"}
    name, *options = service["command"]
    assert name == "sf-exporter"
    assert understood(options)
    volume, _, directory = service["volumes"][0].partition(":")
    assert volume in given["volumes"]
    assert directory == service["environment"]["DIR"]
    shell = service["healthcheck"]["test"]
    assert shell[0] == "CMD"
    assert options[options.index("--health-file") + 1] in shell


def test_the_health_check_of_the_compose_file(place: Path) -> None:
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load((PACKAGING / "compose.yaml").read_text())["services"]["exporter"]
    health = place / "health.json"
    words = [str(health) if word == "/tmp/health.json" else word for word in service["healthcheck"]["test"][1:]]

    def healthy() -> bool:
        return subprocess.run(words, check=False, capture_output=True, timeout=60).returncode == 0

    assert not healthy()
    run(*local(place, "--health-file", health))
    assert healthy()
    health.write_text(health.read_text().replace('"status": "ok"', '"status": "failing"'))
    assert not healthy()
