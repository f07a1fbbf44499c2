"""The proxy's options, from the command line, the environment and a TOML file.

All three mean the same. The command line counts more than the environment, and that more than the file.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
from typing import TYPE_CHECKING, Any, NoReturn, cast

from rpi_clusterhat import SettingError, __version__
from rpi_clusterhat.settings import Given, Option, Origin, load_settings
from rpi_clusterhat.settings.option import as_text, named_types, read_value, traits
from rpi_clusterhat.settings.sources import from_environment, from_file, read_toml, unknown_variables
from rpi_clusterhat.streams import tell
from rpi_clusterhat.validate import invalid

from .option_table import ENV_PREFIX, SETTINGS, TOKEN_VARIABLE, Options
from .option_types import Address, HashOn, OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rpi_clusterhat.settings.sources import Layer

__all__ = [
    "PROGRAM",
    "SETTINGS",
    "Address",
    "HashOn",
    "OptionError",
    "Options",
    "is_simulated",
    "parse",
    "read_token",
    "unknown_names",
]

PROGRAM = "clusterhat-proxy"
TOKEN_LEAST = 16


def parse(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> Options:
    """Reads the options from the arguments (without the program's name), the environment, and a file.

    Raises:
        OptionError: Something is wrong. The text names it, and its place.
        SystemExit: After ``--help`` and ``--version``.
    """
    try:
        line = _from_line(argv)
        layers = [line, from_environment(ENV_PREFIX, SETTINGS.values(), env), _from_toml(line, env)]
        values: dict[str, Any] = {}
        places: dict[str, str] = {}
        for name, option in SETTINGS.items():
            for given in (layer[name] for layer in layers if name in layer):
                value = _read(option, given)
                # Of tables each pair counts by itself.
                values[name] = {**value, **values.get(name, {})} if option.shape == "pairs" else value
                places.setdefault(name, str(given.origin))
                if option.shape != "pairs":
                    break
        token = _token(values.get("admin_token_file"), places.get("admin_token_file", ""), env)
        options = Options(**values, admin_token=token)
        _check(options, places, env)
    except SettingError as error:
        raise OptionError(str(error)) from error
    return options


def unknown_names(env: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yields a warning for each variable ``CLUSTERHAT_PROXY_…`` that is none."""
    return unknown_variables(ENV_PREFIX, (*SETTINGS, "config", "admin_token"), env)


# The command line -------------------------------------------------------------------------------------------

_EPILOG = f"""\
Each option is also a key of the TOML file, where on and off are true and false, repeated ones are lists, and
--node and --option are tables, [nodes] and [options]. It is a variable too: {ENV_PREFIX}IDLE_TIMEOUT;
repeated ones are separated by spaces. The command line counts more than a variable, and that more than the
file; of the two tables, pair by pair.

exit codes: 0 ended by a signal or Ctrl-C, 1 something failed, 2 usage error, 141 nobody reads the output
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)

    def _print_message(self, message: str, file: object = None) -> None:
        del file  # argparse's own hides that the output could not be written
        tell(message, end="")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [--config FILE] [--listen HOST:PORT] [--node pN=HOST:PORT] [OPTION ...]",
        description="Answers HTTP for the nodes of a Cluster HAT. A node is switched on with the first\n"
        "request that it gets, and off when there have been none for a while.",
        epilog=_EPILOG,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s of rpi-clusterhat {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"settings, TOML (else {ENV_PREFIX}CONFIG)")
    groups: dict[str, argparse._ArgumentGroup] = {}  # pyright: ignore[reportPrivateUsage]  # no public name
    for name, option in SETTINGS.items():
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        add = groups[option.group].add_argument
        shown = f" (default: {option.shown})" if option.shown else ""
        text = f"{option.help}{shown}".replace("%", "%%")
        if option.shape == "switch":
            add(option.flag, action=argparse.BooleanOptionalAction, help=text)
            continue
        action = "store" if option.shape == "one" else "append"
        flags = option.flags or (option.flag,)
        add(*flags, dest=name, metavar=option.metavar, action=action, help=text)
    return parser


def _from_line(argv: Sequence[str]) -> Layer:
    found = vars(_parser().parse_args(argv))
    flags = {name: SETTINGS[name].flag if name in SETTINGS else "--config" for name in found}
    return {name: Given(value, Origin("option", flags[name])) for name, value in found.items()}


# The file ---------------------------------------------------------------------------------------------------


def _from_toml(line: Layer, env: Mapping[str, str]) -> Layer:
    variable = f"{ENV_PREFIX}CONFIG"
    named = line.get("config") or Given(env.get(variable) or None, Origin("variable", variable))
    if named.value is None:
        return {}
    if not named.value:
        raise invalid("config", named.value, "the path of a file", named.origin)
    table = read_toml(os.path.expanduser(named.value), str(named.origin))
    if isinstance(table.get("nodes"), dict):  # a number is that of --nodes
        if "node" in table:
            raise SettingError(f"Setting node is set twice (from {named.value})")
        table["node"] = table.pop("nodes")
    return from_file(table, SETTINGS, named.value)


# Values -----------------------------------------------------------------------------------------------------


def _read(option: Option, given: Given) -> Any:
    """The value of an option from one place."""
    name = option.name.replace("_", "-")
    in_file = given.origin.source == "file"
    if option.shape in ("one", "switch"):
        return read_value(option.parse, given, name, numbers_as_text=not in_file)
    value: object = given.value
    if option.shape == "many":
        items = cast("list[object]", value) if isinstance(value, list) else [value]
        for item in items:
            if not isinstance(item, str):
                raise invalid(name, item, f"{named_types((str,))}, or a list of such", given.origin)
        return tuple(_one(option, name, item, given) for item in items)
    pairs = [_one(option, name, text, given) for text in _pairs(option, name, given)]
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise SettingError(f"{name}: {key} is set twice (from {given.origin})")
    return dict(pairs)


def _one(option: Option, name: str, item: object, given: Given) -> Any:
    return read_value(option.parse, given.replaced(value=item), name)


def _pairs(option: Option, name: str, given: Given) -> Iterator[str]:
    """``KEY=VALUE`` pairs, from texts or from a table."""
    value: object = given.value
    if isinstance(value, dict):
        types, _, _ = traits(option.parse)
        for key, item in cast("dict[str, object]", value).items():
            text = as_text(item, types)
            if text is None or "=" in key:
                raise invalid(f"{name}.{key}", item, named_types(types), given.origin)
            yield f"{key}={text}"
        return
    for item in cast("list[object]", value) if isinstance(value, list) else [value]:
        if not isinstance(item, str):
            raise invalid(name, item, f"a table or a list of {option.metavar}", given.origin)
        yield item


# The token --------------------------------------------------------------------------------------------------


def read_token(path: Path, where: str = "--admin-token-file") -> str:
    """The secret in a file. Raises `OptionError`, also where everyone may read or write the file."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(4096)
    except OSError as error:
        raise OptionError(f"{where}: {path}: cannot be read: {error.strerror}") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        raise OptionError(
            f"{where}: {path}: others may read or write it: chmod 600 it, and take a new secret"
        )
    return _checked_token(content.decode("ascii", "replace").strip(), f"{where}: {path}")


def _checked_token(token: str, where: str) -> str:
    if len(token) < TOKEN_LEAST or not re.fullmatch(r"[!-~]+", token):
        raise OptionError(f"{where}: must hold {TOKEN_LEAST} or more ASCII characters without spaces")
    return token


def _token(path: Path | None, where: str, env: Mapping[str, str]) -> str | None:
    if path is not None:
        return read_token(path, where)
    token = env.get(TOKEN_VARIABLE)
    return _checked_token(token, TOKEN_VARIABLE) if token else None


# All together -----------------------------------------------------------------------------------------------


def _check(options: Options, places: Mapping[str, str], env: Mapping[str, str]) -> None:
    """What no option can know alone."""
    if options.tls_key and not options.tls_cert:
        raise OptionError(f"{places['tls_key']}: needs --tls-cert too")
    if not options.listen:
        raise invalid("listen", [], "at least one HOST:PORT", places["listen"])
    fixed = [address for address in (*options.listen, options.admin) if address and address.port]
    for address in fixed:
        if fixed.count(address) > 1:
            raise OptionError(f"--listen, --admin: {address} is set twice")
    if options.boot_time is not None:
        if "boot_time" in options.options:
            raise OptionError(
                f"{places['boot_time']}: set it or the option boot_time of the backend, not both"
            )
        if not is_simulated(options, env):
            raise OptionError(f"{places['boot_time']}: is for a simulation: it needs --backend sim too")
    options.pool_settings()


def _ignore(_warning: str) -> None:
    """Does nothing: opening the cluster warns too."""


def is_simulated(options: Options, env: Mapping[str, str]) -> bool:
    """Returns whether all boards are simulated, by these options, the environment and the library's settings.

    Raises:
        OptionError: The settings file is wrong.
    """
    if options.backend is not None:
        return options.backend == "sim"
    config = str(options.cluster_config) if options.cluster_config else None
    try:
        return all(
            board.backend == "sim" for board in load_settings({}, config=config, env=env, warn=_ignore).boards
        )
    except SettingError as error:
        raise OptionError(str(error)) from error
