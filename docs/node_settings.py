"""The settings of nodes as a Markdown table, from the library's own table; pages.py puts it on a page."""

from __future__ import annotations

from rpi_clusterhat.settings.nodes import NODE_OPTIONS


def markdown() -> str:
    lines = ["| of `node` | default | is |", "| --- | --- | --- |"]
    for option in NODE_OPTIONS.values():
        default = "" if option.default in (None, ()) else f"`{option.default}`"
        lines.append(f"| `{option.name}` | {default} | {option.help} |")
    return "\n".join(lines)
