"""The settings file of the vendor's program: ``/etc/default/clusterctrl``."""

from __future__ import annotations

from .sources import Given, Layer, Origin

__all__ = ["SOCKETS", "from_vendor_file"]

SOCKETS = 4
"""Nodes that a HAT has room for."""

_NAMES = {"CLUSTERHAT_FORCE": "board", "CLUSTERHAT_SIZE": "nodes", "CLUSTERCTRL_DELAY": "spacing"}


def from_vendor_file(path: str) -> Layer:
    """Returns what lines ``KEY=value`` set, read as a shell would: quotes around, ``#`` begins a comment.

    A file that cannot be read sets nothing.
    """
    layer: Layer = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(65536).splitlines()
    except OSError:
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
    return layer
