"""Limits: each is used, and has the attack that it stops above it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sftools import limits

PACKAGE = Path(__file__).resolve().parent.parent / "sftools"
NAMES = [name for name in vars(limits) if name.isupper() and name not in ("KIB", "MIB")]


@pytest.fixture(scope="module")
def used() -> set[str]:
    texts = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "limits.py"]
    return {word for text in texts for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", text)}


@pytest.mark.parametrize("name", NAMES)
def test_each_is_used(name: str, used: set[str]) -> None:
    assert name in used


def test_each_has_words_above() -> None:
    """Limits that belong together stand below the same comment, without a blank line between."""
    groups = (PACKAGE / "limits.py").read_text().split("\n\n")
    told = [re.findall(r"^([A-Z0-9_]+) = ", group, re.MULTILINE) for group in groups if group.startswith("# ")]
    assert len(NAMES) > 60
    assert sorted(name for names in told for name in names) == sorted(NAMES)
