"""The text of a machine's files, and of those that are written to it, which ship beside this module."""

from __future__ import annotations

import os

__all__ = ["read", "shipped"]

_HEADER = "# Written by 'rpi-clusterhat setup'.\n"


def shipped(name: str) -> str:
    """Returns the text of a file that ships, with a line that says what wrote it."""
    with open(os.path.join(os.path.dirname(__file__), "files", name), encoding="utf-8") as file:
        return _HEADER + file.read()


def read(path: str) -> str:
    """Returns the text of a file, none where it cannot be read. What is not UTF-8 is kept as it is."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
