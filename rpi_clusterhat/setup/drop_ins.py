"""Configuration that is spread over several folders, as that of udev, tmpfiles.d and modules-load.d is."""

from __future__ import annotations

import os

from .text import read

__all__ = ["MODULES", "RULES", "TMPFILES", "read_drop_ins"]

RULES = (
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
)
TMPFILES = ("/etc/tmpfiles.d", "/run/tmpfiles.d", "/usr/local/lib/tmpfiles.d", "/usr/lib/tmpfiles.d")
MODULES = (
    "/etc/modules-load.d",
    "/run/modules-load.d",
    "/usr/local/lib/modules-load.d",
    "/usr/lib/modules-load.d",
    "/lib/modules-load.d",
)


def read_drop_ins(root: str, folders: tuple[str, ...], suffix: str) -> dict[str, tuple[str, str]]:
    """Reads the files that count: of those with one name only that in the first folder.

    Returns:
        Path and text of each file, by name. A file that cannot be read has no text.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder in folders:
        try:
            names = os.listdir(root + folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(suffix) and name not in found:
                found[name] = (f"{folder}/{name}", read(f"{root}{folder}/{name}"))
    return found
