"""The settings file of the vendor's program: ``/etc/default/clusterctrl``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sources import Given, Layer, Origin

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SOCKETS", "from_vendor_file"]

SOCKETS = 4
"""Nodes that a HAT has room for."""

_NAMES = {"CLUSTERHAT_FORCE": "board", "CLUSTERHAT_SIZE": "nodes", "CLUSTERCTRL_DELAY": "spacing"}
_MOST = 1 << 20


def from_vendor_file(path: str, warn: Callable[[str], object]) -> Layer:
    """Returns what lines ``KEY=value`` set: there may be quotes around a value, and ``#`` begins a comment.

    Args:
        path: The file. One that is not there sets nothing.
        warn: Is called with a sentence where the file cannot be read, and for a value in whose place the
            vendor's program takes its default.
    """
    layer: Layer = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_MOST).splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        warn(
            f"Cannot read {path}: {error.strerror}: the version and the spacing that it may ask for are not "
            f"used; let every user read it ('sudo chmod a+r {path}')"
        )
        return {}
    for line in lines:
        key, equals, value = line.strip().partition("=")
        name = _NAMES.get(key.strip().upper())
        value = value.split("#")[0].strip(" \t\"'")
        if equals and name and value and not line.lstrip().startswith("#"):
            layer[name] = Given(value, Origin("vendor's file", key.strip(), path))
    if "nodes" in layer and layer["nodes"].value.isdecimal() and len(layer["nodes"].value) < 6:
        # The vendor's own program takes more than four for four.
        layer["nodes"] = layer["nodes"].replaced(value=min(int(layer["nodes"].value), SOCKETS))
    if "spacing" in layer and not _is_delay(layer["spacing"].value):
        given = layer.pop("spacing")
        warn(
            f"Invalid value for {given.origin}: {given.value!r}: expected a number of seconds; "
            "the default spacing is used instead"
        )
    return layer


def _is_delay(value: str) -> bool:
    """Whether the vendor's program takes it for a delay, and not its default instead."""
    try:
        return float(value) >= 0.0
    except ValueError:
        return False
