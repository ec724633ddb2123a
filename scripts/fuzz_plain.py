"""Bytes through the plain Python parts, one target each, following coverage with atheris (make fuzz).

    scripts/fuzz_plain.py [--seconds N] [TARGET...]     default: every target, the seconds shared among them

A target raises only errors of sftools.errors (or what its docstring says); anything else, an input that takes more than
20 s or more than 1 GiB is a finding, which is left in build/fuzz/TARGET-*. What was learnt stays in
build/fuzz/corpus/TARGET for the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib.util
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
WORK = ROOT / "build" / "fuzz"
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = ROOT.parent / "shared" / "traces"

Target = Callable[[bytes], None]


def as_file(data: bytes) -> str:
    """A file with that content, at the same path every time."""
    path = f"/dev/shm/sftools-fuzz-{os.getpid()}"
    with open(path, "wb") as out:
        out.write(data)
    return path


def lists() -> Target:
    """The list blocks of a capture, of the type that the first byte chooses. May raise ListDamage."""
    from sftools.scap import blocks, lists

    def fds(kind: int, body: bytes) -> Iterator[object]:
        return lists.fds(kind, body)[1]

    readers: list[tuple[int, Callable[[int, bytes], Iterator[object]]]] = []
    readers += [(kind, lists.processes) for kind in blocks.PROCESS_LISTS]
    readers += [(kind, fds) for kind in blocks.FD_LISTS]
    readers += [(kind, lists.users) for kind in blocks.USER_LISTS]
    readers += [(kind, lists.interfaces) for kind in blocks.INTERFACE_LISTS]

    def run(data: bytes) -> None:
        with contextlib.suppress(lists.ListDamage):
            if data[:1] == b"\xff":
                lists.machine_info(data[1:])
            elif data:
                kind, read = readers[data[0] % len(readers)]
                for _ in read(kind, data[1:]):
                    pass

    return run


def metadata() -> Target:
    """The JSON of container events, and cgroups."""
    from sftools.engine import containers

    cgroups = containers.CgroupIds()

    def run(data: bytes) -> None:
        containers.from_json(data)
        cgroups.find(data)

    return run


def text() -> Target:
    """The escaping of bytes: it can be reversed, and is valid UTF-8."""
    from sftools.avro.text import from_str, to_avro, to_str

    def run(data: bytes) -> None:
        assert from_str(to_str(data)) == data
        assert to_avro(data).decode() == to_str(data)

    return run


def filters() -> Target:
    """The filter language."""
    from sftools.errors import SftoolsError
    from sftools.filter import compile_filter

    def run(data: bytes) -> None:
        with contextlib.suppress(SftoolsError):
            compile_filter(data.decode("utf-8", "surrogateescape"))

    return run


def idl() -> Target:
    """Avro IDL, to all that is made of it."""
    from sftools.errors import SftoolsError
    from sftools.schema.codegen import generate

    def run(data: bytes) -> None:
        with contextlib.suppress(SftoolsError):
            generate(as_file(data), ("avsc", "avpr", "python"))

    return run


def trace() -> Target:
    """A trace, joined with its entities."""
    from sftools.errors import SftoolsError
    from sftools.reader import read_rows
    from sftools.source import open_source

    def run(data: bytes) -> None:
        with contextlib.suppress(SftoolsError), open_source(as_file(data)) as source:
            for row in read_rows(source):
                _ = (row.record, row.process, row.parent, row.file, row.container, row.pod, row.ancestors())

    return run


def compressed() -> Target:
    """Captures as they are opened: plain, gzip, zstd or lz4."""
    from sftools.errors import SftoolsError
    from sftools.source import open_source

    room = memoryview(bytearray(1 << 20))

    def run(data: bytes) -> None:
        with contextlib.suppress(SftoolsError), open_source(as_file(data)) as source:
            while source.readinto(room):
                pass

    return run


TARGETS = {make.__name__: make for make in (lists, metadata, text, filters, idl, trace, compressed)}


def seeds(target: str) -> list[bytes]:
    """Sound inputs to begin with."""
    if target == "lists":
        from fuzz_captures import Block, parse

        captures = [path.read_bytes() for path in sorted(FIXTURES.glob("*.scap"))]
        bodies = {p.body for capture in captures for p in parse(capture) if isinstance(p, Block) and len(p.body) < 5000}
        return [bytes([i % 256]) + body for i, body in enumerate(sorted(bodies))]
    if target == "idl":
        return [path.read_bytes() for path in sorted((ROOT / "sftools" / "schema" / "idl").rglob("*.avdl"))]
    if target == "trace":
        return [path.read_bytes() for path in sorted(SHARED.rglob("*.sf")) if path.stat().st_size < 50_000]
    if target == "compressed":
        import lz4.frame
        import zstandard

        data = (FIXTURES / "webshell.scap").read_bytes()
        return [data, gzip.compress(data), zlib.compress(data), zstandard.compress(data), lz4.frame.compress(data)]
    if target == "filters":
        words = (ROOT / "docs" / "filter.md").read_text().splitlines()
        return [line.strip().encode() for line in words if line.startswith("    ")]
    if target == "metadata":
        return [
            b'{"container":{"id":"0123456789ab","name":"n","image":"i","type":0,"labels":{"io.kubernetes.pod.uid":"u"}}}'
        ]
    return ["/tmp/caf\u00e9 \uef80".encode(), b"\xee\xbe\x80\xff"]


def fuzz(target: str, seconds: int) -> None:
    """Runs one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["sftools", "lark"]):
        run = TARGETS[target]()
    folder = WORK / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(seeds(target)):
        (folder / f"seed-{i}").write_bytes(seed)
    limits = ["-timeout=20", "-rss_limit_mb=1024", "-max_len=20000", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-artifact_prefix={WORK / target}-", *limits, str(folder)], run
    )
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET", help=" ".join(TARGETS))
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(f"fuzz_plain: not run: {sys.executable} -m pip install atheris", file=sys.stderr)
        return 0
    if options.one:
        fuzz(options.targets[0], int(options.seconds))
        return 0
    targets = options.targets or list(TARGETS)
    status = 0
    for target in targets:
        seconds = max(1, int(options.seconds / len(targets)))
        command = [sys.executable, __file__, "--one", "--seconds", str(seconds), target]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
        runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(f"{target}: {runs[0] if runs else '?'} inputs in {seconds} s, exit {done.returncode}", file=sys.stderr)
        if done.returncode:
            status = 1
            print(done.stderr[-3000:], file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
