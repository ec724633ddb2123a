"""sftools.compat: scripts for the existing package run as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sftools

ROOT = Path(sftools.__file__).parents[1]
TRACE = Path(__file__).parent / "fixtures" / "traces" / "webshell.sf"

# In the manner of the existing package's documentation.
LOOP = """
import sys
import sysflow.utils as utils
from sysflow.objtypes import OBJECT_MAP, ObjectTypes
from sysflow.reader import FlattenedSFReader

reader = FlattenedSFReader(sys.argv[1], False)
for objtype, header, pod, cont, pproc, proc, files, evt, flow in reader:
    exe = proc.exe if proc else ""
    evflow = evt or flow
    opFlags = utils.getOpFlagsStr(evflow.opFlags) if evflow else ""
    sTime = utils.getTimeStrIso8601(evflow.ts) if evflow else ""
    res = ""
    if objtype == ObjectTypes.FILE_FLOW or objtype == ObjectTypes.FILE_EVT:
        res = files[0].path
    elif objtype == ObjectTypes.NET_FLOW:
        res = utils.getNetFlowStr(flow)
    print("|{0:30}|{1:9}|{2:26}|{3:12}|{4:20}|".format(exe, OBJECT_MAP[objtype], sTime, opFlags, res))
"""

FORMS = """
import sys
import sysflow
import sysflow.sfql
from sysflow import utils
from sysflow.formatter import SFFormatter
from sysflow.reader import FlattenedSFReader, SFReader
from sysflow.sfql import SfqlInterpreter

reader = FlattenedSFReader(sys.argv[1])
formatter = SFFormatter(reader)
fields = ["ts_uts", "type", "proc.exe", "opflags", "res"]
formatter.toJsonStdOut(fields=fields, flat=True, expr="type = FF")
formatter.applyFuncJson(print)
reader = FlattenedSFReader(sys.argv[1], False)
query = SfqlInterpreter("type = FF")
print(len([record for record in query.filter(reader)]), "file flows")
print([str(objtype) for objtype, obj in SFReader(sys.argv[1])][0], sysflow.__version__)
print(sysflow.reader.FlattenedSFReader is FlattenedSFReader, utils.getIpIntStr(16777343))
"""


def run(*arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)  # of `make test-pure`; it hides the directory of the script
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "script.py"
    path.write_text(text)
    return str(path)


def rows() -> list[str]:
    return TRACE.with_suffix(".flatjson").read_text().splitlines()


@pytest.mark.parametrize("how", ["command", "import"])
def test_a_loop_over_the_reader(tmp_path: Path, how: str) -> None:
    if how == "command":
        status, out, err = run("-m", "sftools.compat", script(tmp_path, LOOP), str(TRACE))
    else:
        status, out, err = run(script(tmp_path, "import sftools.compat" + LOOP), str(TRACE))
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == len(rows())
    assert all(f'"{line[1:31].strip()}"' in row for line, row in zip(out.splitlines(), rows(), strict=True))


def test_formatter_and_queries(tmp_path: Path) -> None:
    status, out, err = run("-m", "sftools.compat", script(tmp_path, FORMS), str(TRACE))
    assert (status, err) == (0, "")
    *documents, count, first, last = out.splitlines()
    assert f"{len(documents)} file flows" == count
    assert all('"type":"FF"' in document for document in documents)
    assert first.startswith("ObjectTypes.HEADER ")
    assert last == "True 127.0.0.1"


def test_frames(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    text = """
import sys
from sysflow.formatter import SFFormatter
from sysflow.reader import FlattenedSFReader
df = SFFormatter(FlattenedSFReader(sys.argv[1])).toDataframe()
print(df.shape[0], df["proc.exe"].nunique())
"""
    status, out, err = run("-m", "sftools.compat", script(tmp_path, text), str(TRACE))
    assert (status, err) == (0, "")
    assert int(out.split()[0]) == len(rows())


def test_a_real_package_is_found_until_compat_is_imported(tmp_path: Path) -> None:
    (tmp_path / "sysflow").mkdir()
    (tmp_path / "sysflow" / "__init__.py").write_text("real = True\n")
    (tmp_path / "sysflow" / "reader.py").write_text("SFReader = 'the real one'\n")
    text = """
import sftools.reader
from sysflow.reader import SFReader
print(SFReader)
import sftools.compat
from sysflow.reader import SFReader
print(SFReader is sftools.reader.SFReader)
import sysflow
print(hasattr(sysflow, "real"))
"""
    assert run(script(tmp_path, text)) == (0, "the real one\nTrue\nFalse\n", "")


def test_the_modules_of_sftools_stay_what_they_are(tmp_path: Path) -> None:
    text = """
import sftools.compat, sysflow.reader, sftools.reader, importlib
print(sftools.reader.__name__, sftools.reader.__spec__.name, sysflow.reader.__name__)
importlib.reload(sftools.reader)
"""
    assert run(script(tmp_path, text)) == (0, "sftools.reader sftools.reader sysflow.reader\n", "")


def test_what_there_is_not(tmp_path: Path) -> None:
    text = "import sysflow\n"
    status, _, err = run("-m", "sftools.compat", script(tmp_path, text + "import sysflow.graphlet"))
    assert status == 1
    assert err.endswith("ModuleNotFoundError: No module named 'sysflow.graphlet'\n")
    status, _, err = run("-m", "sftools.compat", script(tmp_path, text + "sysflow.graphlet"))
    assert err.endswith("AttributeError: module 'sysflow' (of sftools.compat) has no attribute 'graphlet'\n")


def test_a_script_runs_as_python_runs_it(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("here = 'beside'\n")
    text = "import sys\nfrom beside import here\nprint(__name__, here, sys.argv[1:])\nsys.exit(5)\n"
    assert run("-m", "sftools.compat", script(tmp_path, text), "a", "-b") == (5, "__main__ beside ['a', '-b']\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["missing.py"]])
def test_without_a_script(arguments: list[str]) -> None:
    status, out, err = run("-m", "sftools.compat", *arguments)
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
