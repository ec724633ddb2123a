"""The fields of records that the decoder keeps in C: each has a slot, by the path of its Avro name.

A slot means the same in every record type, so that one look-up serves all: TS is the time of an event, a flow, an
entity. Numbers are held as such; of the others the decoder keeps where they stand.
"""

from __future__ import annotations

NUMBERS = (
    "ts", "endTs", "tid", "opFlags", "ret", "fd", "openFlags", "sip", "dip", "sport", "dport", "proto",
    "numRRecvOps", "numWSendOps", "numRRecvBytes", "numWSendBytes",
    "numThreadsCloned", "numThreadsExited", "numCloneErrors",
    "procOID.hpid", "procOID.createTS", "oid.hpid", "oid.createTS", "poid.hpid", "poid.createTS",
)  # fmt: skip
SPANS = ("oid", "fileOID", "newFileOID", "sip6", "dip6", "id", "containerId", "podId", "args")
"""Strings and fixed values; the encoded items of an array."""

SLOTS = {name: slot for slot, name in enumerate(NUMBERS + SPANS)}
