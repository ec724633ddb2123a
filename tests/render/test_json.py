"""sftools.render.json: one document a line, nested at the dots."""

from __future__ import annotations

import json

from sftools.reader import Joined
from sftools.render.json import json_lines
from sftools.render.rows import FIELDS
from sftools.schema.sysflow import OID, File, FileFlow, SFObjectState


def test_documents_are_nested_at_the_dots_and_ascii() -> None:
    flow = FileFlow(OID(0, 7), 0, 1, 0, 0, 0, bytes(20), 3, 0, 0, 5, 0)
    row = Joined(flow, None, file=File(SFObjectState.REUP, bytes(20), 0, 102, "/\u4f60\x1b\ud800", None))
    [line] = json_lines([row], ("type", "proc.pid", "proc.exe", "ret", "file.path", "flow.rbytes"))
    assert line == (
        '{"type": "FF", "proc": {"pid": 7, "exe": ""}, "ret": null, "file": {"path": "/\\u4f60\\u001b\\ud800"}, '
        '"flow": {"rbytes": 5}}'
    )
    [line] = json_lines([row], tuple(FIELDS))
    assert json.loads(line)["file"] == {
        "fd": 3,
        "path": "/\u4f60\x1b\ud800",
        "newpath": "",
        "type": "f",
        "openflags": 0,
    }
