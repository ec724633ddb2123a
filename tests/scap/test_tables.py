"""The event table: what the generator wrote, against facts known from the format's own headers."""

import subprocess
import sys
from pathlib import Path

import pytest

from sftools.scap import event_table, tables

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"
GENERATOR = ROOT / "scripts" / "gen_scap_tables.py"


def run_generator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, GENERATOR, *arguments], capture_output=True, text=True, check=False)


def test_generated_modules_are_up_to_date() -> None:
    result = run_generator("--check")
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(not REFERENCE.exists(), reason="needs ../shared/reference")
def test_facts_are_those_of_the_reference() -> None:
    result = run_generator(str(REFERENCE), "--check")
    assert result.returncode == 0, result.stderr


def test_unknown_option_is_a_usage_error() -> None:
    assert run_generator("--chekc").returncode == 2


def test_constants_are_the_ids() -> None:
    assert tables.PPME_SYSCALL_OPEN_E == 2
    assert tables.PPME_SOCKET_ACCEPT4_6_X == 389
    assert len(tables.EVENT_CODES) == len(event_table.EVENTS) == 454
    for number, code in enumerate(tables.EVENT_CODES):
        assert getattr(tables, code) == number
        assert event_table.EVENTS[number].id == number
        assert event_table.EVENTS[number].code == code


def test_flag_values() -> None:
    assert (tables.PPM_O_RDONLY, tables.PPM_O_WRONLY, tables.PPM_O_RDWR, tables.PPM_O_CREAT) == (1, 2, 3, 4)
    assert tables.PPM_CL_CLONE_THREAD == 8192
    assert tables.PPM_AT_FDCWD == -100


def test_even_ids_enter_and_odd_ids_exit() -> None:
    for event in event_table.EVENTS:
        assert event.code.endswith("_X" if event.id % 2 else "_E")


def test_a_row_has_names_types_and_flags() -> None:
    event = event_table.BY_CODE["PPME_SYSCALL_READ_X"]
    assert (event.name, event.category) == ("read", "io_read")
    assert event.params == (("res", "PT_ERRNO"), ("data", "PT_BYTEBUF"), ("fd", "PT_FD"), ("size", "PT_UINT32"))
    assert "READS_FROM_FD" in event.flags


def test_lookup_by_name_gives_old_layouts_too() -> None:
    codes = [event.code for event in event_table.by_name("execve")]
    assert codes[0] == "PPME_SYSCALL_EXECVE_8_E"
    assert codes[-1] == "PPME_SYSCALL_EXECVE_19_X"
    assert event_table.by_name("no such call") == ()


def test_conversions_end_in_the_newest_layout() -> None:
    """Following the rows from any of them ends, in an event that has all the parameters of its table row."""
    rules = {(code, nparams): (becomes, sources) for code, nparams, becomes, sources in tables.CONVERSIONS}
    assert len(rules) == len(tables.CONVERSIONS)
    for code, nparams in rules:
        seen = set()
        while (code, nparams) in rules:
            assert (code, nparams) not in seen
            seen.add((code, nparams))
            becomes, sources = rules[code, nparams]
            nparams = nparams + len(sources) if becomes == code else len(sources)
            code = becomes
        assert nparams == len(event_table.EVENTS[code].params), event_table.EVENTS[code].code


def test_conversion_sources_exist() -> None:
    for code, nparams, _, sources in tables.CONVERSIONS:
        for kind, number in sources:
            assert kind in ("from_old", "from_enter", "from_empty", "from_default", "from_callback")
            if kind == "from_old":
                assert number < nparams
            if kind == "from_enter":
                enter = event_table.EVENTS[code - 1]
                assert number < len(enter.params), (enter.code, number)


def test_setns_exit_takes_both_parameters_from_its_enter() -> None:
    rows = [row for row in tables.CONVERSIONS if row[0] == tables.PPME_SYSCALL_SETNS_X]
    assert rows == [
        (tables.PPME_SYSCALL_SETNS_X, 1, tables.PPME_SYSCALL_SETNS_X, (("from_enter", 0), ("from_enter", 1)))
    ]
