"""Killed at random, the exporter loses nothing and sends nothing twice; `make exporter-kills` does it 200 times."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "exporter_kills.py"


@pytest.fixture
def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exporter_kills", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_is_whole_in_one_place(kills: ModuleType, tmp_path: Path) -> None:
    assert kills.run(10, tmp_path, kills.Directory(tmp_path / "to")) == []
