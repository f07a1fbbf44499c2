"""The command ``settings`` shows what is in force, and where each value comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import BoardNotFoundError, ClusterHatError
from rpi_clusterhat.hardware import boards
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.hardware.open_board import open_board
from rpi_clusterhat.settings import Origin
from rpi_clusterhat.settings.library import OPTIONS
from rpi_clusterhat.settings.secret import Secret

from .clusters import settings_of
from .exits import DONE
from .output import columns

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.settings import BoardSettings, Settings

    from .output import Output
    from .signals import Signals

__all__ = ["run"]

_DEFAULT = Origin("default")
_PLAIN = (str, int, float, type(None))
"""What JSON has too."""


class _Value(Frozen):
    """A setting in force."""

    value: Any
    origin: Origin
    missing: str = ""
    """Why there is no value."""

    @classmethod
    def of(cls, value: Any, origin: Origin | None) -> _Value:
        return cls(value, origin or _DEFAULT)

    def as_dict(self) -> dict[str, Any]:
        plain = self.value if isinstance(self.value, _PLAIN) else _text(self.value)
        found: dict[str, Any] = {"value": plain}
        if self.missing:
            return {**found, "missing": self.missing}
        found["source"] = self.origin.source
        found |= {key: text for key in ("name", "file") if (text := getattr(self.origin, key))}
        return found

    def cells(self) -> tuple[str, str]:
        if self.missing:
            return "-", self.missing
        origin = self.origin
        label = str(origin)
        if origin.source in ("HAT", "detected", "default"):
            label = origin.source if not origin.file else f"the HAT's description, {origin.file}"
        return _text(self.value), label


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    settings = settings_of(args, out)
    shared = {
        "config": _Value.of(settings.config.value, settings.config.origin),
        "spacing": _Value.of(settings.spacing, settings.origins.get("spacing")),
        "lock_dir": _Value.of(settings.lock_dir, settings.origins.get("lock_dir")),
    }
    shared |= _of_nodes(settings)
    found = [_Board(settings, board, signals) for board in settings.boards]
    out.line(_as_json(shared, found) if args.json else _as_table(shared, found))
    return DONE


def _of_nodes(settings: Settings) -> dict[str, _Value]:
    """What is set for nodes, and what for one of them alone."""
    if not settings.node:
        return {}
    from rpi_clusterhat.settings.nodes import NODE_OPTIONS, node_settings

    of_all = node_settings(settings.node, "")
    values = {f"node.{key}": _Value(of_all[key], origin) for key, origin in of_all.origins.items()}
    names = {name: None for layer in settings.node for name in layer if name not in NODE_OPTIONS}
    for name in names:
        own = node_settings(settings.node, name)
        for key, origin in own.origins.items():
            if origin != of_all.origins.get(key):
                values[f"node.{name}.{key}"] = _Value(own[key], origin)
    return values


class _Board:
    """The settings of one board: those that are given, and those that are found out."""

    def __init__(self, settings: Settings, given: BoardSettings, clock: Clock) -> None:
        self.options: dict[str, _Value] = {}
        origins = given.origins
        plugin = load(given.backend) if given.backend else None
        if given.version is None and plugin is not None and plugin.board is not None:
            version = _Value(plugin.board, _DEFAULT)
        elif given.version is None:
            version = _detected()
        else:
            version = _Value.of(boards.board(given.version, where=origins["board"]).version, origins["board"])
        backend = _Value.of(given.backend, origins.get("backend"))
        if given.backend is None:
            backend = _chosen(settings, given, version, clock)
        if backend.value is not None:
            self._add_options(given, backend.value)
        else:
            self.options = {k: _Value(v, given.option_origins[k]) for k, v in given.options.items()}
        self.values = {
            "board": version,
            "backend": backend,
            "nodes": _Value.of(given.nodes or OPTIONS["nodes"].default, origins.get("nodes")),
            "rail": _Value.of(given.rail, origins.get("rail")),
        }

    def _add_options(self, given: BoardSettings, name: str) -> None:
        plugin = load(name)
        values = parse_options(name, plugin, given.options, given.option_origins)
        for option in plugin.options:
            value = values[option.name]
            if not isinstance(value, _PLAIN):  # as it was written, where it was
                value = given.options.get(option.name, value)
            self.options[option.name] = _Value.of(value, given.option_origins.get(option.name))

    def as_dict(self) -> dict[str, Any]:
        values = {name: value.as_dict() for name, value in self.values.items()}
        return {**values, "options": {name: value.as_dict() for name, value in self.options.items()}}

    def rows(self) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = [(name, *value.cells()) for name, value in self.values.items()]
        return rows + [(f"option {name}", *value.cells()) for name, value in self.options.items()]


def _detected() -> _Value:
    try:
        return _Value(boards.detect(boards.DEVICE_TREE), Origin("HAT", "", boards.DEVICE_TREE))
    except BoardNotFoundError as error:
        return _Value(None, _DEFAULT, str(error))


def _chosen(settings: Settings, given: BoardSettings, version: _Value, clock: Clock) -> _Value:
    """The backend that is taken for the board where none is set. Opening one switches nothing."""
    if version.value is None:
        return _Value(None, _DEFAULT, "it depends on the board")
    try:
        _, backend, name = open_board(given, settings, clock, {}, boards.DEVICE_TREE)
    except ClusterHatError as error:
        return _Value(None, _DEFAULT, str(error))
    backend.close()
    return _Value(name, Origin("detected"))


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Secret):
        return "…"
    if isinstance(value, tuple):
        return ", ".join(map(str, cast("tuple[object, ...]", value))) or "none"
    return str(value)


def _as_json(shared: Mapping[str, _Value], found: list[_Board]) -> str:
    import json

    values = {name: value.as_dict() for name, value in shared.items()}
    return json.dumps({**values, "boards": [board.as_dict() for board in found]})


def _as_table(shared: Mapping[str, _Value], found: list[_Board]) -> str:
    rows: list[tuple[str, ...]] = [("setting", "value", "from")]
    rows += [(name, *value.cells()) for name, value in shared.items()]
    for i, board in enumerate(found, 1):
        rows += [(f"board {i}:", "", "")] if len(found) > 1 else []
        rows += board.rows()
    return columns(rows)
