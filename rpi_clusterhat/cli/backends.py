"""The command ``backends`` lists which backends are installed and which can be used here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.errors import ClusterHatError
from rpi_clusterhat.hardware.discovery import installed, load, parse_options
from rpi_clusterhat.settings.sources import unknown

from .clusters import settings_of
from .exits import DONE
from .output import columns

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from rpi_clusterhat.hardware.backend import Plugin
    from rpi_clusterhat.hardware.discovery import Installed
    from rpi_clusterhat.settings import BoardSettings

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


class _Row(NamedTuple):
    plugin: Installed
    summary: str
    reason: str
    """Why it cannot be used here; empty where it can."""


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    boards = settings_of(args, out).boards
    plugins = [(found, *_load(found)) for found in installed()]
    _check_keys(boards, [plugin for _, plugin, _ in plugins if plugin])
    rows: list[_Row] = []
    for found, plugin, reason in plugins:
        signals.check()
        rows.append(
            _Row(found, plugin.summary, _reason(found.name, plugin, boards))
            if plugin
            else _Row(found, "", reason)
        )
    lines = [("name", "distribution", "here", "")]
    for row in rows:
        text = ": ".join(filter(None, (row.summary, row.reason)))
        lines.append((row.plugin.name, row.plugin.distribution, "no" if row.reason else "yes", _flat(text)))
    out.line(columns(lines))
    return DONE


def _load(found: Installed) -> tuple[Plugin | None, str]:
    try:
        return load(found.name), ""
    except (ClusterHatError, SystemExit) as error:  # a module may even end the program
        return None, str(error)


def _check_keys(boards: Iterable[BoardSettings], plugins: list[Plugin]) -> None:
    """Checks that at least one backend knows each option, where no backend is named."""
    known = {option.name for plugin in plugins for option in plugin.options}
    for board in boards:
        for key in board.options:
            if board.backend is None and key not in known:
                raise unknown("option", key, known, board.option_origins[key], of="every backend")


def _reason(name: str, plugin: Plugin, boards: Iterable[BoardSettings]) -> str:
    options = parse_options(name, plugin, {}, name)
    for board in boards:
        if board.backend == name:
            options = parse_options(name, plugin, board.options, board.option_origins)
        elif board.backend is None:
            known = {option.name for option in plugin.options}
            given = {key: value for key, value in board.options.items() if key in known}
            options = parse_options(name, plugin, given, board.option_origins)
    try:
        plugin.check(options)
    except Exception as error:  # noqa: BLE001 - a stranger's plugin may raise anything: the others are listed
        return str(error) or type(error).__name__
    return ""


def _flat(text: str) -> str:
    return " ".join(text.split())
