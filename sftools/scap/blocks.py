"""Block types of the capture format, by name. Source: falcosecurity/libs userspace/libscap/scap_savefile.h."""

from __future__ import annotations

SHB = 0x0A0D0D0A
MI = 0x201
PL_V1 = 0x202
FDL = 0x203
EV = 0x204
IL = 0x205
UL = 0x206
PL_V2 = 0x207
EVF = 0x208
PL_V3 = 0x209
PL_V4 = 0x210
PL_V5 = 0x211
PL_V6 = 0x212
PL_V7 = 0x213
PL_V8 = 0x214
PL_V9 = 0x215
EV_V2 = 0x216
EVF_V2 = 0x217
FDL_V2 = 0x218
IL_V2 = 0x219
UL_V2 = 0x220
EV_V2_LARGE = 0x221
EVF_V2_LARGE = 0x222
PL_V1_PRE = 0x8000ABCD
FDL_PRE = 0x8001ABCD
MI_PRE = 0x8002ABCD
EV_PRE = 0x8010ABCD
IL_PRE = 0x8011ABCD
UL_PRE = 0x8012ABCD
PL_V2_PRE = 0x8013ABCD
PL_V3_PRE = 0x8014ABCD

PROCESS_LISTS = {
    PL_V1: 1, PL_V2: 2, PL_V3: 3, PL_V4: 4, PL_V5: 5, PL_V6: 6, PL_V7: 7, PL_V8: 8, PL_V9: 9,
    PL_V1_PRE: 1, PL_V2_PRE: 2, PL_V3_PRE: 3,
}  # fmt: skip
FD_LISTS = {FDL: 1, FDL_PRE: 1, FDL_V2: 2}
INTERFACE_LISTS = {IL: 1, IL_PRE: 1, IL_V2: 2}
USER_LISTS = {UL: 1, UL_PRE: 1, UL_V2: 2}
MACHINE_INFOS = {MI, MI_PRE}
EVENTS = {EV, EVF, EV_PRE, EV_V2, EVF_V2, EV_V2_LARGE, EVF_V2_LARGE}
KNOWN = frozenset({SHB, *MACHINE_INFOS, *PROCESS_LISTS, *FD_LISTS, *INTERFACE_LISTS, *USER_LISTS, *EVENTS})


def guess(head: bytes) -> str:
    """What a file that is no capture may be, from its first bytes: an addition to an error's text."""
    magics = {
        b"\xd4\xc3\xb2\xa1": "a pcap file (network packets)",
        b"\xa1\xb2\xc3\xd4": "a pcap file (network packets)",
        b"Obj\x01": "an Avro file, perhaps a SysFlow trace: print it with sysprint",
        b"\x7fELF": "an ELF program",
        b"PK\x03\x04": "a zip archive: unpack it first",
        b"BZh": "bzip2-compressed: unpack it first (gzip, zstd and lz4 are read as they are)",
        b"\xfd7zXZ": "xz-compressed: unpack it first (gzip, zstd and lz4 are read as they are)",
    }
    for magic, what in magics.items():
        if head.startswith(magic):
            return f"; it looks like {what}"
    return ""
