"""Settings: tables of options, and where their values come from.

`Option` and its parsers describe what can be set; plugins and the proxy make their tables with them too.
`load_settings` gathers the library's own settings.
"""

from __future__ import annotations

from .library import (
    DEFAULT_LOCK_DIR,
    DEFAULT_SPACING,
    ENV_PREFIX,
    BoardSettings,
    Settings,
    load_settings,
)
from .option import Option, Parser, parse_bool, parse_int
from .sources import Given, Origin, parse_pairs

__all__ = [
    "DEFAULT_LOCK_DIR",
    "DEFAULT_SPACING",
    "ENV_PREFIX",
    "BoardSettings",
    "Given",
    "Option",
    "Origin",
    "Parser",
    "Settings",
    "load_settings",
    "parse_bool",
    "parse_int",
    "parse_pairs",
]
