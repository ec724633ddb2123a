"""Prints the C header with the event ids, parameter counts and flag values that the eBPF programs in capture/ need.

    scripts/gen_probe_header.py > build/capture/scap.h

So they stand in one place only: sftools/scap/tables.py and event_table.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sftools.scap import tables
from sftools.scap.event_table import EVENTS


def header() -> str:
    """The header's text: PPME_name, NPARAMS_PPME_name, PPM_name."""
    lines = ["// Made by scripts/gen_probe_header.py from sftools/scap: do not edit.", "#pragma once"]
    for event in EVENTS:
        lines += [f"#define {event.code} {event.id}", f"#define NPARAMS_{event.code} {len(event.params)}"]
    lines += [
        f"#define {name} {value}u" for name, value in vars(tables).items() if name.startswith("PPM_") and value >= 0
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(header(), end="")
