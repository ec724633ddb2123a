"""The SysFlow format: its schemas, and the compiler that makes them of Avro IDL.

idl/                 the source: sysflow_v5.avdl and sysflow_v6.avdl import a file per record. A file with a version in
                     its name holds the record as of that version. sysflow.avdl imports the newest version
sysflow_v*.avsc/avpr the schemas made of it, which traces carry in their header
sysflow.py           the records of the newest version as Python classes, made of it too
codegen/             the compiler (sf-codegen)
versions.py          the schemas by version; canonical.py their fingerprints
objtypes.py          record types; opflags.py operation flags

A new version: copy the newest sysflow_v*.avdl and the files of the records that change, edit the copies, import the new
version in sysflow.avdl, run `make codegen`, and put its fingerprint into tests/schema/test_versions.py.
"""
