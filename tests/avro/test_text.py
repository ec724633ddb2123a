"""Capture bytes as Avro strings: valid UTF-8 stays, the rest is escaped so that it can be had back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sftools.avro.text import from_str, to_avro, to_str

# Bytes near the escapes' own encodings (EE BE 80 to EE BF BF) and near surrogates (ED A0 80 to ED BF BF).
TRICKY = st.lists(
    st.sampled_from([b"\xee", b"\xbe", b"\xbf", b"\x80", b"\xed", b"\xa0", b"\xf0", b"\xe2", b"a", b"\xee\xbe\x80"])
).map(b"".join)


@given(st.binary() | TRICKY)
@example(b"\xee\xbe\x80")
@example(b"\xee\xbf\xbf")
@example(b"\xee\xee\xbe\x80\xbe\x80")
@example(b"\xf0\xee\xbe\x80\x80\x80")
@example(b"\xed\xa0\x80")
@example("\uef7f\uef80\uefff\uf000".encode())
def test_any_bytes_come_back(raw: bytes) -> None:
    assert from_str(to_str(raw)) == raw


@given(st.binary() | TRICKY, st.binary() | TRICKY)
def test_different_bytes_never_become_the_same_text(one: bytes, other: bytes) -> None:
    assert (to_str(one) == to_str(other)) == (one == other)


@given(st.text(st.characters(exclude_categories=["Cs"]).filter(lambda char: not "\uef80" <= char <= "\uefff")))
def test_utf_8_stays_as_it_is(text: str) -> None:
    assert to_str(text.encode()) == text
    assert to_avro(text.encode()) == text.encode()


@given(st.binary() | TRICKY)
def test_the_result_is_utf_8_without_surrogates(raw: bytes) -> None:
    text = to_str(raw)
    assert not any("\ud800" <= char <= "\udfff" for char in text)
    assert to_avro(raw).decode("utf-8") == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_bytes(text: str) -> None:
    """A reader may be given strings that no capture made."""
    assert isinstance(from_str(text), bytes)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"\xff", "\uefff"),
        (b"\x80abc\xfe", "\uef80abc\ueffe"),
        (b"caf\xe9", "caf\uefe9"),
        ("café".encode(), "café"),
        (b"a\x00b\n", "a\x00b\n"),
        # A sequence cut at the end, one longer than need be, one past U+10FFFF.
        (b"\xe2\x82", "\uefe2\uef82"),
        (b"\xc0\xaf", "\uefc0\uefaf"),
        (b"\xf4\x90\x80\x80", "\ueff4\uef90\uef80\uef80"),
        # A surrogate in UTF-8 (CESU) is no UTF-8.
        (b"\xed\xa0\x80", "\uefed\uefa0\uef80"),
        # What would be read as an escape is escaped itself.
        ("\uef80".encode(), "\uefee\uefbe\uef80"),
    ],
)
def test_examples(raw: bytes, text: str) -> None:
    assert to_str(raw) == text
