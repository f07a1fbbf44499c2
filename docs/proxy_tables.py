"""The proxy's options and metrics as Markdown tables, from the proxy's code; pages.py puts them on pages."""

from __future__ import annotations

from html import escape

from clusterhat_proxy.instruments import METRICS
from clusterhat_proxy.options import SETTINGS


def _code(text: str) -> str:
    """Within backticks a backslash before a bar is shown on the site, and is needed elsewhere."""
    return f"<code>{escape(text).replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def options() -> str:
    lines: list[str] = []
    group = ""
    for setting in SETTINGS.values():
        if setting.group != group:
            group = setting.group
            head = f"**{group[0].upper()}{group[1:]}**"
            lines += ["", head, "", "| option | default | is |", "| --- | --- | --- |"]
        flags = ", ".join(setting.flags or (setting.flag,))
        off = setting.flag.replace("--", "--no-", 1)
        option = f"`{flags}`, `{off}`" if setting.shape == "switch" else _code(f"{flags} {setting.metavar}")
        default = _code(setting.shown) if setting.shown else ""
        lines.append(f"| {option} | {default} | {_cell(setting.help)} |")
    return "\n".join(lines[1:]) + "\n"


def metrics() -> str:
    lines = ["| metric | kind | labels | is |", "| --- | --- | --- | --- |"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.help)} |")
    return "\n".join(lines) + "\n"
