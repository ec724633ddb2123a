"""Builds tests/fixtures/*.scap from tests/fixtures/scenarios/*.scenario, and the table in tests/fixtures/README.md.

scripts/make_fixtures.py            build what is not up to date (make fixtures)
scripts/make_fixtures.py --check    say what is not up to date; exit 1 where anything is not
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sftools.errors import SftoolsError  # noqa: E402
from sftools.scap import scenario  # noqa: E402

FIXTURES = ROOT / "tests" / "fixtures"
README = FIXTURES / "README.md"
BEGIN, END = "<!-- table: made by scripts/make_fixtures.py -->\n", "<!-- end of table -->\n"


def title(text: str) -> str:
    """The first line's comment says what a scenario shows."""
    return text.split("\n", 1)[0].lstrip("# ").rstrip()


def outputs() -> dict[Path, bytes]:
    """Every file to be written, with its contents."""
    files: dict[Path, bytes] = {}
    rows = ["| capture | bytes | what it shows | sha256 |\n|---|---|---|---|\n"]
    for source in sorted((FIXTURES / "scenarios").glob("*.scenario")):
        text = source.read_text()
        data = scenario.build(text, str(source.relative_to(ROOT)))
        files[FIXTURES / f"{source.stem}.scap"] = data
        digest = hashlib.sha256(data).hexdigest()
        rows.append(f"| {source.stem}.scap | {len(data)} | {title(text)} | `{digest}` |\n")
    head, _, rest = README.read_text().partition(BEGIN)
    tail = rest.partition(END)[2]
    files[README] = (head + BEGIN + "".join(rows) + END + tail).encode()
    return files


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        files = outputs()
    except SftoolsError as error:
        print(error, file=sys.stderr)
        return 1
    stale = [path for path, data in files.items() if not path.exists() or path.read_bytes() != data]
    orphans = [path for path in FIXTURES.glob("*.scap") if path not in files]
    for path in stale:
        if arguments:
            print(f"{path.relative_to(ROOT)} is not up to date: run `make fixtures`", file=sys.stderr)
        else:
            path.write_bytes(files[path])
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
    for path in orphans:
        print(f"{path.relative_to(ROOT)} has no scenario: delete it", file=sys.stderr)
    return 1 if orphans or (stale and arguments) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
