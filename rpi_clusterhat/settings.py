"""Settings: said in code, in the environment, in a TOML file, or in the vendor's settings file.

The first of these that says something counts. A place that names another backend than a later one does
also sets that one's backend options aside: they are not meant for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from ._frozen import Frozen
from .errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["BoardSettings", "Settings", "load_settings"]

ENV_PREFIX = "RPI_CLUSTERHAT_"
VENDOR_FILE = "/etc/default/clusterctrl"
_FILES = ("~/.config/rpi-clusterhat.toml", "/etc/rpi-clusterhat.toml")
_BOARD_KEYS = ("board", "backend", "nodes", "rail", "options")
_KEYS = (*_BOARD_KEYS, "spacing", "lock_dir", "boards")
_SPACING_MAX = 3600.0
_RAIL_MAX = 64

DEFAULT_SPACING = 2.0
"""Seconds between two power-ups, as in the programs that this library succeeds."""
_NODES_MAX = 4


def default_lock_dir() -> str:
    """``/run/lock``, or the temporary folder where there is none."""
    if os.path.isdir("/run/lock"):
        return "/run/lock"
    import tempfile

    return tempfile.gettempdir()


class BoardSettings(Frozen):
    """What is said about one board; None where nothing is."""

    version: str | None
    backend: str | None
    nodes: int | None
    rail: str
    options: Mapping[str, object]
    where: str
    """The place to name in errors about the board."""
    options_where: Mapping[str, str]
    """The place of each option."""


class Settings(Frozen):
    boards: Sequence[BoardSettings]
    spacing: float
    """Seconds between two power-ups of one rail."""
    lock_dir: str


class _Said(Frozen):
    """A value and where it was said."""

    value: Any
    where: str


_Layer = dict[str, _Said]


def load_settings(
    code: Mapping[str, object],
    *,
    config: str | None = None,
    env: Mapping[str, str] | None = None,
    vendor_file: str = VENDOR_FILE,
) -> Settings:
    """Gathers the settings.

    ``code`` holds what the caller said; None counts as nothing. ``config`` is a TOML file that must exist;
    without it ``RPI_CLUSTERHAT_CONFIG``, ``~/.config/rpi-clusterhat.toml`` and ``/etc/rpi-clusterhat.toml``
    are tried. ``env`` is the process's environment unless given. Raises `SettingError`, whose text names the
    file, variable or argument.
    """
    env = os.environ if env is None else env
    layers = [
        _checked({k: _Said(v, k) for k, v in code.items() if v is not None}),
        _checked(_from_env(env)),
        _checked(_from_toml(_config_file(config, env))),
        _checked(_from_vendor(vendor_file)),
    ]
    top = _merge(layers)
    said_at = next((i for i, layer in enumerate(layers) if "boards" in layer), 0)
    spacing = top.get("spacing", _Said(DEFAULT_SPACING, "default")).value
    lock_dir = top["lock_dir"].value if "lock_dir" in top else default_lock_dir()
    if "boards" not in top:
        return Settings((_board(top),), spacing, lock_dir)
    if not top["boards"].value:
        raise SettingError(f"{top['boards'].where}: needs at least one board")
    boards: list[BoardSettings] = []
    # What was said before the list of boards counts more than what the list says of each, the rest less.
    above, below = (_shared(part) for part in (layers[:said_at], layers[said_at:]))
    for i, table in enumerate(top["boards"].value, 1):
        where = f"{top['boards'].where}: board {i}"
        if not hasattr(table, "items"):
            raise SettingError(f"{where}: must be a table such as {{board = '2.3'}}, not {table!r}")
        for key in table:
            if key not in _BOARD_KEYS:
                raise SettingError(
                    f"{where}: unknown key {key!r}: it must be one of {', '.join(_BOARD_KEYS)}"
                )
        own = _checked({k: _Said(v, f"{where}: {k}") for k, v in table.items()})
        boards.append(_board(_merge([above, _merge([own, below])]), where))
    return Settings(tuple(boards), spacing, lock_dir)


def _board(said: _Layer, where: str = "board") -> BoardSettings:
    version = said.get("board")
    options: Mapping[str, _Said] = said["options"].value if "options" in said else {}
    return BoardSettings(
        version.value if version else None,
        said["backend"].value if "backend" in said else None,
        said["nodes"].value if "nodes" in said else None,
        said["rail"].value if "rail" in said else "main",
        {key: option.value for key, option in options.items()},
        version.where if version else where,
        {key: option.where for key, option in options.items()},
    )


def _shared(layers: Sequence[_Layer]) -> _Layer:
    merged = _merge(layers)
    return {k: merged[k] for k in ("backend", "nodes", "rail", "options") if k in merged}


def _merge(layers: Sequence[_Layer]) -> _Layer:
    merged: _Layer = {}
    for layer in layers:
        backend = merged.get("backend")
        if "options" in layer and not (
            backend and "backend" in layer and layer["backend"].value != backend.value
        ):
            above = merged.get("options", layer["options"])
            merged["options"] = _Said({**layer["options"].value, **above.value}, above.where)
        if ("boards" in merged and "board" in layer) or ("board" in merged and "boards" in layer):
            layer = {k: v for k, v in layer.items() if k not in ("board", "boards", "nodes")}  # noqa: PLW2901
        for key, said in layer.items():
            if key != "options":
                merged.setdefault(key, said)
    return merged


# Checks: from what was said to a value of the right type -------------------------------------------------


def _checked(layer: _Layer) -> _Layer:
    if "board" in layer and "boards" in layer:
        raise SettingError(f"{layer['boards'].where}: give either board or boards, not both")
    return {k: _Said(_CHECKS[k](said), said.where) for k, said in layer.items()}


def _number(said: _Said) -> float:
    try:
        value = float(said.value)
    except (TypeError, ValueError, OverflowError):
        value = -1.0
    if isinstance(said.value, bool) or not 0.0 <= value <= _SPACING_MAX:
        raise SettingError(
            f"{said.where}: {said.value!r}: must be seconds, a number from 0 to {_SPACING_MAX:g}"
        )
    return value


def _count(said: _Said) -> int:
    text = str(said.value)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _NODES_MAX):
        raise SettingError(f"{said.where}: {said.value!r}: must be a whole number from 1 to {_NODES_MAX}")
    return int(text)


def _text(said: _Said) -> str:
    if not isinstance(said.value, str) or not said.value.strip():
        hint = (
            f': in a TOML file it stands in quotes, "{said.value}"' if isinstance(said.value, float) else ""
        )
        raise SettingError(f"{said.where}: {said.value!r}: must be text{hint}")
    if "\0" in said.value:
        raise SettingError(f"{said.where}: {said.value!r}: must be text without NUL characters")
    return said.value.strip()


def _path(said: _Said) -> str:
    return os.path.expanduser(
        _text(_Said(os.fspath(said.value), said.where) if hasattr(said.value, "__fspath__") else said)
    )


def _rail(said: _Said) -> str:
    name = _text(said)
    if len(name) > _RAIL_MAX or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        shown = name if len(name) <= _RAIL_MAX else f"{name[:_RAIL_MAX]}…"
        raise SettingError(f"{said.where}: {shown!r}: must be up to {_RAIL_MAX} letters, digits, - _ and .")
    return name


def _table(said: _Said) -> dict[str, _Said]:
    if not hasattr(said.value, "items"):
        raise SettingError(f"{said.where}: {said.value!r}: must be a table of options")
    return {str(k).replace("-", "_"): _Said(v, said.where) for k, v in said.value.items()}


def _list(said: _Said) -> list[object]:
    value: object = said.value
    if not isinstance(value, (list, tuple)):
        raise SettingError(f"{said.where}: must be a list of boards")
    return list(cast("Sequence[object]", value))


_CHECKS: Mapping[str, Callable[[_Said], Any]] = {
    "board": _text,
    "backend": _text,
    "nodes": _count,
    "rail": _rail,
    "options": _table,
    "spacing": _number,
    "lock_dir": _path,
    "boards": _list,
}


# Where settings are said ---------------------------------------------------------------------------------


def parse_pairs(texts: Sequence[str], where: str) -> dict[str, str]:
    """``KEY=VALUE`` pairs. Raises `SettingError`."""
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise SettingError(f"{where}: {text!r}: must be KEY=VALUE")
        pairs[key] = value
    return pairs


def _from_env(env: Mapping[str, str]) -> _Layer:
    layer: _Layer = {}
    for key in _KEYS:
        name = ENV_PREFIX + key.upper()
        if not env.get(name):
            continue
        if key == "boards":
            raise SettingError(f"{name}: a list of boards is said in a settings file: see {ENV_PREFIX}CONFIG")
        value: object = env[name]
        if key == "options":
            import shlex

            try:
                words = shlex.split(env[name])
            except ValueError as error:
                raise SettingError(f"{name}: {error}") from error
            value = parse_pairs(words, name)
        layer[key] = _Said(value, name)
    return layer


def _config_file(config: str | None, env: Mapping[str, str]) -> str | None:
    named = config or env.get(ENV_PREFIX + "CONFIG")
    if named:
        return os.path.expanduser(named)
    return next((path for path in map(os.path.expanduser, _FILES) if os.path.isfile(path)), None)


def _from_toml(path: str | None) -> _Layer:
    if path is None:
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: is not TOML: {error}") from error
    except RecursionError as error:
        raise SettingError(f"{path}: is nested too deeply to be settings") from error
    for key in table:
        if key not in _KEYS:
            raise SettingError(f"{path}: unknown key {key!r}: it must be one of {', '.join(_KEYS)}")
    return {k: _Said(v, f"{path}: {k}") for k, v in table.items()}


_VENDOR_KEYS = {"CLUSTERHAT_FORCE": "board", "CLUSTERHAT_SIZE": "nodes", "CLUSTERCTRL_DELAY": "spacing"}


def _from_vendor(path: str) -> _Layer:
    """Lines ``KEY=value`` as a shell would read them: quotes around, ``#`` begins a comment."""
    layer: _Layer = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        return {}
    for line in lines:
        key, equals, value = line.strip().partition("=")
        ours = _VENDOR_KEYS.get(key.strip().upper())
        value = value.split("#")[0].strip(" \t\"'")
        if equals and ours and value and not line.lstrip().startswith("#"):
            layer[ours] = _Said(value, f"{path}: {key.strip()}")
    if "nodes" in layer and layer["nodes"].value.isdecimal() and len(layer["nodes"].value) < 6:
        # The vendor's own program takes more than four for four.
        layer["nodes"] = layer["nodes"].replaced(value=min(int(layer["nodes"].value), _NODES_MAX))
    return layer
