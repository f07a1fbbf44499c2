"""The files that are written to a machine, which ship beside this module."""

from __future__ import annotations

import os

__all__ = ["shipped"]

_HEADER = "# Written by 'rpi-clusterhat setup'.\n"


def shipped(name: str) -> str:
    """Returns the text of a file that ships, with a line that says what wrote it."""
    with open(os.path.join(os.path.dirname(__file__), "files", name), encoding="utf-8") as file:
        return _HEADER + file.read()
