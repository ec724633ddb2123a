"""SfqlInterpreter: queries and policies for records of FlattenedSFReader."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from sftools.conditions.errors import FilterError
from sftools.fields import FIELDS
from sftools.sfql import SfqlInterpreter
from sftools.sfql.interpreter import TupleRow

POLICY = """
- macro: write
  condition: opflags = WRITE
- rule: etc written
  desc: a file below etc was written
  condition: write and file.path startswith /etc
  priority: medium
  tags: [mitre:T1098, etc]
- rule: any file
  condition: type = FF
  priority: low
  tags: [etc, file]
- rule: of events
  condition: proc.exe exists
  prefilter: [PE]
  priority: high
- rule: partly wrong
  condition: sf.prog.args = x or proc.name = node and type = NF
  tags: [net]
- drop: quiet
  condition: flow.wbytes > 1000
"""


def test_evaluate(make: SimpleNamespace) -> None:
    interpreter = SfqlInterpreter()
    assert interpreter.evaluate(make.file_flow())
    assert not interpreter.evaluate(make.file_flow(), "- sfql: type = NF")
    assert not interpreter.evaluate(make.file_flow())  # the query stays
    assert interpreter.evaluate(make.network_flow())
    assert SfqlInterpreter("type = FF").evaluate(make.file_flow())
    with pytest.raises(FilterError):
        SfqlInterpreter("type =")


def test_state_is_of_one_instance(make: SimpleNamespace) -> None:
    one = SfqlInterpreter("m", inputs=["- macro: m\n  condition: type = FF\n"])
    assert one.evaluate(make.file_flow())
    with pytest.raises(FilterError, match="unknown macro m"):
        SfqlInterpreter("m")


def test_filter_gives_the_records_themselves(make: SimpleNamespace) -> None:
    records = [make.file_flow(), make.network_flow(), make.exec_event()]
    interpreter = SfqlInterpreter()
    assert list(interpreter.filter(records)) == records
    assert list(interpreter.filter(records, "type in (NF, PE)")) == records[1:]
    assert list(interpreter.filter(records)) == records[1:]


def test_definitions_from_files_and_streams(make: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("- list: names\n  items: [node]\n")
    interpreter = SfqlInterpreter("m", [str(path)], [io.StringIO("- macro: m\n  condition: proc.name in (names)\n")])
    assert interpreter.evaluate(make.file_flow())
    interpreter = SfqlInterpreter()
    assert interpreter.evaluate(make.file_flow(), "proc.name in (names)", [str(path)])
    interpreter.compile("- macro: m\n  condition: type = PE\n- sfql: m or proc.pid = 1")
    assert not interpreter.evaluate(make.file_flow())


def test_enrich(make: SimpleNamespace) -> None:
    interpreter = SfqlInterpreter(inputs=[POLICY])
    found = interpreter.enrich(make.file_flow())
    assert found == (["etc written", "any file"], ["mitre:T1098", "etc", "file"], 2)
    assert json.loads(json.dumps(found)) == list(found)
    assert interpreter.enrich(make.network_flow()) == (["partly wrong"], ["net"], 1)
    assert interpreter.enrich(make.exec_event()) == ()  # prefilter PE, but its process is unknown
    assert interpreter.enrich(make.file_flow(numWSendBytes=2000)) == ()
    assert SfqlInterpreter().enrich(make.file_flow()) == ()


def test_a_wrong_check_in_a_rule_is_false_and_told_of(make: SimpleNamespace) -> None:
    (warning,) = SfqlInterpreter(inputs=[POLICY]).warnings
    assert warning.startswith("definitions:18: unknown field sf.prog.args")
    interpreter = SfqlInterpreter(inputs=["- rule: r\n  condition: not absent_macro and type = FF\n"])
    assert interpreter.enrich(make.file_flow()) == (["r"], [], 1)
    assert "unknown macro absent_macro" in interpreter.warnings[0]


def test_attributes(make: SimpleNamespace) -> None:
    attributes = SfqlInterpreter().getAttributes()
    assert set(attributes) == set(FIELDS)
    assert attributes["proc.exe"](make.file_flow()) == "/usr/bin/node"
    assert attributes["net.dport"](make.file_flow()) is None
    assert attributes["res"](make.network_flow()) == "10.0.0.1:40000-93.184.216.34:443"


def test_a_tuple_of_other_objects(make: SimpleNamespace) -> None:
    """Of another package, say: enums as their names, without what old schemas lack."""
    process = SimpleNamespace(exe="/bin/sh", oid=SimpleNamespace(hpid=9, createTS=1), uid=0, userName="root")
    flow = SimpleNamespace(ts=1, tid=9, opFlags=0x80)
    record = (SimpleNamespace(value=6), None, None, None, None, process, None, None, flow)
    for query in ("type = FF", "proc.name = sh", "not proc.entry exists", "opflags = OPEN", "not file.fd exists",
                  "proc.aname = sh", "proc.pid = 9", "endts = None"):  # fmt: skip
        assert SfqlInterpreter(query).evaluate(record), query


def test_entities_of_a_tuple(make: SimpleNamespace) -> None:
    process = make.record("Process", None, None, make.process())
    row = TupleRow(process)
    assert row.record is process[5]
    assert SfqlInterpreter("type = P and proc.name = node and state = CREATED and ts > 0").evaluate(process)
