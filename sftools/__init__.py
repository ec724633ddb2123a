"""sftools: recorded system activity to SysFlow, and what comes after."""

from __future__ import annotations

__version__ = "0.1.0"
