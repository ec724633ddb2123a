#!/usr/bin/env python3
"""Prints every program start and network connection of a capture: libSysFlow's API in a few lines.

examples/print_execs.py tests/fixtures/webshell.scap
"""

from __future__ import annotations

import signal
import sys

from sftools.libsysflow import SysFlowConfig, SysFlowDriver, SysFlowException
from sftools.render.text import printable
from sftools.schema.opflags import OP_ACCEPT, OP_CONNECT, OP_EXEC
from sftools.schema.sysflow import Container, File, NetworkFlow, Process, ProcessEvent, SFHeader
from sftools.utils import getTimeStrIso8601, ip_text


def show(
    header: SFHeader,
    container: Container | None,
    process: Process | None,
    file1: File | None,
    file2: File | None,
    record: object,
) -> None:
    where = container.name if container else header.exporter
    who = f"{process.oid.hpid} {process.userName} {process.exe} {process.exeArgs}" if process else "?"
    if isinstance(record, ProcessEvent) and record.opFlags & OP_EXEC:
        print(getTimeStrIso8601(record.ts), printable(f"{where}: exec {who}"))
    elif isinstance(record, NetworkFlow) and record.opFlags & (OP_CONNECT | OP_ACCEPT):
        client = f"{ip_text(record.sip, record.sip6)} port {record.sport}"
        server = f"{ip_text(record.dip, record.dip6)} port {record.dport}"
        what = "connect" if record.opFlags & OP_CONNECT else "accept"
        print(getTimeStrIso8601(record.ts), printable(f"{where}: {what} {client} -> {server} by {who}"))


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} CAPTURE", file=sys.stderr)
        return 2
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as head ends what prints to it
    config = SysFlowConfig(scapInputPath=sys.argv[1], callback=show)
    try:
        return SysFlowDriver(config).run()
    except SysFlowException as error:
        print(f"{error.getErrorCode().name}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
