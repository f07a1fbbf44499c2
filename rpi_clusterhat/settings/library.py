"""The library's own settings, from code, the environment, a TOML file or the vendor's settings file.

The first of these that sets something counts. A place that names another backend than a later one also sets
aside that one's backend options: they are not meant for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.validate import invalid

from .option import Option, Parser, read_value, seconds, text, whole
from .sources import (
    Given,
    Layer,
    Origin,
    from_environment,
    from_file,
    parse_pairs,
    read_toml,
    unknown,
    unknown_variables,
)
from .vendor import SOCKETS, from_vendor_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "DEFAULT_LOCK_DIR",
    "DEFAULT_SPACING",
    "ENV_PREFIX",
    "OPTIONS",
    "BoardSettings",
    "Settings",
    "load_settings",
]

ENV_PREFIX = "RPI_CLUSTERHAT_"
VENDOR_FILE = "/etc/default/clusterctrl"
DEFAULT_SPACING = 2.0
"""Seconds between two power-ups, as in the programs that this library succeeds."""

DEFAULT_LOCK_DIR = "/run/rpi-clusterhat"
"""The one place where all programs on a machine find the same locks. ``rpi-clusterhat setup`` makes it."""

_FILES = ("~/.config/rpi-clusterhat.toml", "/etc/rpi-clusterhat.toml")
_SPACING_MOST = 3600.0
_RAIL_MOST = 64


# The table -----------------------------------------------------------------------------------------------


def _read_rail(value: str) -> str:
    name = text(value)
    if len(name) > _RAIL_MOST or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise ValueError(f"up to {_RAIL_MOST} letters, digits, - _ and .")
    return name


def _read_path(value: str) -> str:
    return os.path.expanduser(text(value))


def _read_folder(value: str) -> str:
    folder = _read_path(value)
    if not os.path.isabs(folder):  # it would be another one in another working folder
        raise ValueError("the whole path of a folder, from / on")
    return folder


OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option("board", text, None, "version of the HAT, such as 2.3", "VERSION"),
        Option("backend", text, None, "gpiod, sysfs, i2c, sim or a plugin's", "NAME"),
        Option("nodes", whole(1, SOCKETS), SOCKETS, "how many sockets of the HAT are in use", "N"),
        Option("rail", Parser(_read_rail), "main", "the supply that feeds the nodes", "NAME"),
        Option(
            "options",
            text,
            None,
            "option of the backend; may be repeated",
            "KEY=VALUE",
            shape="pairs",
            flags=("-o", "--option"),
        ),
        Option("spacing", seconds(_SPACING_MOST), DEFAULT_SPACING, "between two power-ups", "SECONDS"),
        Option("lock_dir", Parser(_read_folder), None, "folder of the locks that processes share", "FOLDER"),
    )
}
"""The settings that have one value for a cluster or for each board. ``boards`` is beside them in a file."""

_OF_A_BOARD = ("board", "backend", "nodes", "rail", "options")
_NAMES = (*OPTIONS, "boards", "node")
_OTHER_VARIABLES = ("config", "boards", "debug")


# What comes of it ----------------------------------------------------------------------------------------


class BoardSettings(Frozen):
    """The settings of one board; None where nothing is set."""

    version: str | None
    backend: str | None
    nodes: int | None
    rail: str
    options: Mapping[str, object]
    origins: Mapping[str, Origin]
    """Where each setting comes from, by its name; without those that nobody set."""
    option_origins: Mapping[str, Origin]
    """Where each of the backend's options comes from."""


class Settings(Frozen):
    boards: Sequence[BoardSettings]
    spacing: float
    """Seconds between two power-ups of one rail."""
    lock_dir: str
    config: Given
    """The TOML file that was read, or None, and what named it."""
    node: Sequence[Layer]
    """What each place sets in its table ``node``, the first to count first: for
    `rpi_clusterhat.settings.nodes.node_settings`."""
    origins: Mapping[str, Origin]
    """Where the settings of all boards come from, by name; without those that nobody set."""


def _log(warning: str) -> None:
    import logging

    logging.getLogger("rpi_clusterhat").warning("%s", warning)


def load_settings(
    code: Mapping[str, object],
    *,
    config: str | None = None,
    env: Mapping[str, str] | None = None,
    vendor_file: str = VENDOR_FILE,
    command_line: Mapping[str, Given] | None = None,
    warn: Callable[[str], object] = _log,
) -> Settings:
    """Gathers the settings.

    Args:
        code: What the caller of a function gave, by name; None counts as nothing.
        config: A TOML file, which must exist. Without it ``RPI_CLUSTERHAT_CONFIG``,
            ``~/.config/rpi-clusterhat.toml`` and ``/etc/rpi-clusterhat.toml`` are tried.
        env: The environment; that of the process unless given.
        vendor_file: The vendor's settings file.
        command_line: What options of a command gave. ``config`` is among them.
        warn: Is called with a sentence for each variable ``RPI_CLUSTERHAT_…`` that is none, and for what is
            wrong with the vendor's file without being an error; logs it unless given.

    Raises:
        SettingError: A value is wrong. The text names it, and the file, variable or option that it is from.
    """
    env = os.environ if env is None else env
    line = dict(command_line or {})
    of_nodes = _check_variables(env, warn)
    file = _config_file(line.pop("config", None), config, env)
    layers = [
        _checked({k: Given(v, Origin("argument")) for k, v in code.items() if v is not None}),
        _checked(line),
        _checked(_from_env(env)),
        _checked(_from_toml(file)),
        _checked(from_vendor_file(vendor_file, warn)),
    ]
    if of_nodes:
        from .nodes import nodes_from_environment

        layers[2]["node"] = Given(nodes_from_environment(ENV_PREFIX, env), Origin("default"))
    node = [layer.pop("node").value for layer in layers if "node" in layer]
    top = _merge(layers)
    spacing = top["spacing"].value if "spacing" in top else DEFAULT_SPACING
    lock_dir = top["lock_dir"].value if "lock_dir" in top else DEFAULT_LOCK_DIR
    origins: dict[str, Origin] = {name: top[name].origin for name in ("spacing", "lock_dir") if name in top}
    return Settings(tuple(_boards(layers, top)), spacing, lock_dir, file, node, origins)


def _check_variables(env: Mapping[str, str], warn: Callable[[str], object]) -> bool:
    """Warns of unknown variables, and says whether there are some that are for nodes."""
    prefix = f"{ENV_PREFIX}NODE_"
    of_nodes = any(variable.startswith(prefix) for variable in env)
    names = [*OPTIONS, *_OTHER_VARIABLES]
    if of_nodes:
        from .nodes import NODE_OPTIONS

        names += [f"node_{name}" for name in NODE_OPTIONS]
    for warning in unknown_variables(ENV_PREFIX, names, env):
        warn(warning)
    return of_nodes


def _boards(layers: Sequence[Layer], top: Layer) -> list[BoardSettings]:
    if "boards" not in top:
        return [_board(top)]
    tables = top["boards"]
    if not tables.value:
        raise invalid("boards", [], "at least one board", tables.origin)
    # What is set before the list of boards counts more than what the list has for each, the rest less.
    at = next(i for i, layer in enumerate(layers) if "boards" in layer)
    above, below = (_shared(part) for part in (layers[:at], layers[at:]))
    boards: list[BoardSettings] = []
    for i, table in enumerate(tables.value, 1):
        name, origin = f"board {i}", tables.origin
        if not hasattr(table, "items"):
            raise invalid(name, table, "a table such as {board = '2.3'}", origin)
        if origin.source == "file":
            own = from_file(table, _OF_A_BOARD, origin.file, f"of {name}")
        else:
            if wrong := next((key for key in table if key not in _OF_A_BOARD), None):
                raise unknown("setting", str(wrong), _OF_A_BOARD, name)
            own = {
                k: Given(v, Origin("argument", f"{k} of {name}")) for k, v in table.items() if v is not None
            }
        boards.append(_board(_merge([above, _merge([_checked(own), below])])))
    return boards


def _board(layer: Layer) -> BoardSettings:
    options: Layer = layer["options"].value if "options" in layer else {}
    values = {key: layer[key].value if key in layer else None for key in ("board", "backend", "nodes")}
    return BoardSettings(
        values["board"],
        values["backend"],
        values["nodes"],
        layer["rail"].value if "rail" in layer else OPTIONS["rail"].default,
        {key: option.value for key, option in options.items()},
        {key: layer[key].origin for key in _OF_A_BOARD if key in layer},
        {key: option.origin for key, option in options.items()},
    )


def _shared(layers: Sequence[Layer]) -> Layer:
    merged = _merge(layers)
    return {k: merged[k] for k in ("backend", "nodes", "rail", "options") if k in merged}


def _merge(layers: Iterable[Layer]) -> Layer:
    merged: Layer = {}
    for layer in layers:
        backend = merged.get("backend")
        if "options" in layer and not (
            backend and "backend" in layer and layer["backend"].value != backend.value
        ):
            above = merged.get("options", layer["options"])
            merged["options"] = Given({**layer["options"].value, **above.value}, above.origin)
        if ("boards" in merged and "board" in layer) or ("board" in merged and "boards" in layer):
            layer = {k: v for k, v in layer.items() if k not in ("board", "boards", "nodes")}  # noqa: PLW2901
        for key, given in layer.items():
            if key != "options":
                merged.setdefault(key, given)
    return merged


# From what one place sets to values of the right type ----------------------------------------------------


def _checked(layer: Layer) -> Layer:
    if "board" in layer and "boards" in layer:
        where = layer["boards"].origin
        raise SettingError(f"Set either board or boards, not both{f' (from {where})' if str(where) else ''}")
    return {name: Given(_value(name, given), given.origin) for name, given in layer.items()}


def _value(name: str, given: Given) -> Any:
    if name == "options":
        return _options(given)
    if name == "node":
        from .nodes import node_layer

        return node_layer(given)
    if name == "boards":
        boards: object = given.value
        if not isinstance(boards, (list, tuple)):
            raise invalid(name, boards, "a list of boards", given.origin)
        return list(cast("Sequence[object]", boards))
    return read_value(OPTIONS[name].parse, given, name)


def _options(given: Given) -> Layer:
    """The backend's options, each with its own origin."""
    value = given.value
    if not hasattr(value, "items"):
        raise invalid("options", value, "a table of options", given.origin)
    options: Layer = {}
    for key, one in value.items():
        if not isinstance(key, str):
            raise invalid("options", value, "a table whose keys are text", given.origin)
        name = key.replace("-", "_")
        if name in options:
            raise invalid("options", value, f"{name} only once", given.origin)
        options[name] = one if isinstance(one, Given) else Given(one, _origin_of_option(given.origin, key))
    return options


def _origin_of_option(origin: Origin, key: str) -> Origin:
    if origin.source != "file":
        return origin
    return origin.replaced(name=origin.name.replace("options", f"options.{key}", 1))


# Places --------------------------------------------------------------------------------------------------


def _from_env(env: Mapping[str, str]) -> Layer:
    if env.get(f"{ENV_PREFIX}BOARDS"):
        raise SettingError(
            f"{ENV_PREFIX}BOARDS: a list of boards needs a settings file: see {ENV_PREFIX}CONFIG"
        )
    layer = from_environment(ENV_PREFIX, OPTIONS.values(), env)
    if "options" in layer:
        given = layer["options"]
        layer["options"] = given.replaced(value=parse_pairs(given.value, given.origin))
    return layer


def _config_file(option: Given | None, argument: str | None, env: Mapping[str, str]) -> Given:
    """The settings file to read, or None, and what named it."""
    given = Given(argument, Origin("argument", "config")) if argument is not None else option
    variable = f"{ENV_PREFIX}CONFIG"
    if given is None and env.get(variable):
        given = Given(env[variable], Origin("variable", variable))
    if given is not None:
        return given.replaced(value=read_value(Parser(_read_path), given, "config"))
    found = next((path for path in map(os.path.expanduser, _FILES) if os.path.isfile(path)), None)
    return Given(found, Origin("default"))


def _from_toml(file: Given) -> Layer:
    if file.value is None:
        return {}
    named_by = "" if file.origin.source == "default" else str(file.origin)
    return from_file(read_toml(file.value, named_by), _NAMES, file.value)
