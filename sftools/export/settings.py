"""What an exporter is told: lanes (a directory, where its files go, how), and what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sftools.export.names import KeyRule
from sftools.store.objects import Store


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """A directory and where its files go. make_store: connects; raises UsageError."""

    directory: str
    mode: str
    make_store: Callable[[], Store]


@dataclass(frozen=True, slots=True)
class Settings:
    """interval, settle, timeout: seconds. agemin: minutes. rate: bytes/s, None without bound. jobs: files at once, of
    each lane. metrics_file, health_file: written after each scan."""

    lanes: tuple[LaneSettings, ...]
    rule: KeyRule = field(default_factory=KeyRule)
    meta: Mapping[str, str] = field(default_factory=dict)
    compression: str = "none"
    interval: float = 1.0
    settle: float = 300.0
    timeout: float = 5.0
    agemin: float = 60.0
    allow_drop: bool = False
    rate: float | None = None
    jobs: int = 64
    once: bool = False
    dry_run: bool = False
    metrics_file: str | None = None
    health_file: str | None = None
