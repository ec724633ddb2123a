from sftools.objtypes import OBJ_NAME_MAP, OBJECT_MAP, ObjectTypes
from sftools.schema import sysflow


def test_numbers_and_letters_are_those_of_the_existing_package() -> None:
    known = {
        "HEADER": "H", "CONT": "C", "PROC": "P", "FILE": "F", "PROC_EVT": "PE", "NET_FLOW": "NF", "FILE_FLOW": "FF",
        "FILE_EVT": "FE", "NET_EVT": "NE", "PROC_FLOW": "PF", "POD": "POD", "K8S_EVT": "KE",
    }  # fmt: skip
    assert [(objtype.name, objtype.value) for objtype in ObjectTypes] == [(name, i) for i, name in enumerate(known)]
    assert {objtype.name: letters for objtype, letters in OBJECT_MAP.items()} == known


def test_every_avro_name_has_its_type() -> None:
    assert len(OBJ_NAME_MAP) == len(ObjectTypes)
    assert OBJ_NAME_MAP["sysflow.flow.FileFlow"] is ObjectTypes.FILE_FLOW
    # The existing package's own name for it is wrong, so that such a record ends its run.
    assert OBJ_NAME_MAP[sysflow.NetworkEvent.AVRO_NAME] is ObjectTypes.NET_EVT
