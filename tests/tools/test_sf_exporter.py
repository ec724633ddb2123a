"""The command: options, exit statuses, signals, the lock, the files that go with it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
        (["--settle", "nan"], "is no number"),
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
        ("s3endpoint = '\xff'", "can't decode"),
    ],
)
def test_a_file_of_settings_that_is_wrong(text: str, said: str, place: Path) -> None:
    config = place / "config.toml"
    config.write_text(text, encoding="latin-1")
    result = run("--config", config, *local(place))
    assert result.exit_code == 2
    assert said in result.stderr
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

    asked: list[str] = []
    monkeypatch.setattr(BotoStore, "check", lambda store: asked.append(store.place))
    run("--dir", place / "in", "--dry-run", "--s3endpoint", endpoint, env={"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"})
    assert asked == [f"{url} bucket telemetry"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    result = run("--exporttype", "local", "--dir", tmp_path / "in", "--todir", tmp_path / "out", "--once")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


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
    assert json.loads((place / "health").read_text())["lanes"][0]["exported"] == 2
    assert re.search(r'^sf_exporter_exported_files_total\{dir=".*"\} 2$', (place / "metrics").read_text(), re.M)


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


def names() -> set[str]:
    return {option for parameter in main.params for option in parameter.opts}


def test_the_unit() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "packaging" / "sf-exporter.service")
    assert set(unit.sections()) == {"Unit", "Service", "Install"}
    assert set(re.findall(r" (--[a-z-]+)", unit["Service"]["ExecStart"])) <= names()


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "sf-exporter.service"
    shutil.copy(ROOT / "packaging" / "sf-exporter.service", unit)
    done = subprocess.run([program, "verify", str(unit)], check=False, capture_output=True, text=True, timeout=60)
    assert unit.name not in done.stderr


def test_the_cron_line() -> None:
    line = (ROOT / "packaging" / "sf-exporter.cron").read_text().strip()
    assert re.fullmatch(r"(\S+ ){5}root .*\bsf-exporter .*", line)
    assert set(re.findall(r" (--[a-z-]+)", line)) <= names()


def test_the_compose_file() -> None:
    yaml = pytest.importorskip("yaml")
    given = yaml.safe_load((ROOT / "packaging" / "compose.yaml").read_text())
    service = given["services"]["exporter"]
    assert set(service["environment"]) <= {str(parameter.envvar) for parameter in main.params if parameter.envvar}
    assert set(service["secrets"]) <= set(given["secrets"])
