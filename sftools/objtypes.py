"""The types of objects that readers give. Names and numbers are those of the existing Python package."""

from __future__ import annotations

from enum import Enum

from sftools.schema import sysflow
from sftools.schema.objtypes import BRANCHES, LETTERS


class ObjectTypes(Enum):
    """The type of an object; the value is its index in the union of SysFlow.rec."""

    HEADER = BRANCHES["SFHeader"]
    CONT = BRANCHES["Container"]
    PROC = BRANCHES["Process"]
    FILE = BRANCHES["File"]
    PROC_EVT = BRANCHES["ProcessEvent"]
    NET_FLOW = BRANCHES["NetworkFlow"]
    FILE_FLOW = BRANCHES["FileFlow"]
    FILE_EVT = BRANCHES["FileEvent"]
    NET_EVT = BRANCHES["NetworkEvent"]
    PROC_FLOW = BRANCHES["ProcessFlow"]
    POD = BRANCHES["Pod"]
    K8S_EVT = BRANCHES["K8sEvent"]


OBJECT_MAP = {ObjectTypes(branch): LETTERS[name] for name, branch in BRANCHES.items()}
"""The letters that output has for a type: FF for FILE_FLOW."""

OBJ_NAME_MAP = {str(getattr(sysflow, name).AVRO_NAME): ObjectTypes(branch) for name, branch in BRANCHES.items()}
"""Type by the record's full Avro name: sysflow.flow.FileFlow is FILE_FLOW."""
