"""How nodes are reached and halted: the table ``node`` of the settings, for all nodes or for one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.validate import invalid

from .option import Option, Parser, choice, read_value, seconds, text, whole
from .secret import Secret
from .sources import Given, Origin, from_environment, unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .sources import Layer

__all__ = [
    "NODE_OPTIONS",
    "WAYS",
    "NodeSettings",
    "check_names",
    "node_layer",
    "node_settings",
    "nodes_from_environment",
    "read_secret_file",
]

WAYS = ("console", "ssh", "hook", "http", "simulated")
"""How a node can be asked to halt."""

_SECRET_MOST = 1024


def _read_file_name(value: str) -> str:
    return os.path.expanduser(text(value))


def _read_secret(value: str) -> Secret:
    if not value or len(value) > _SECRET_MOST or any(not c.isprintable() for c in value):
        raise ValueError(f"1 to {_SECRET_MOST} printable characters")
    return Secret(value)


NODE_OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option(
            "halt",
            choice(*WAYS),
            (),
            f"ways to halt a node, in the order in which they are tried: {', '.join(WAYS)}",
            "WAYS",
            shape="many",
        ),
        Option(
            "halt_timeout", seconds(3600, above=True), 60.0, "for a halt, after which it is cut", "SECONDS"
        ),
        Option("halt_settle", seconds(600), 2.0, "that a node is left alone when it is down", "SECONDS"),
        Option(
            "halt_quiet",
            seconds(600),
            10.0,
            "of silence that count as down, without a surer sign",
            "SECONDS",
        ),
        Option("halt_command", text, None, "what the node runs to halt [sudo -n poweroff]", "COMMAND"),
        Option("halt_hook", text, (), "command of the controller that halts a node", "COMMAND", shape="many"),
        Option("halt_url", text, None, "address where a POST halts a node", "URL"),
        Option(
            "halt_guard", text, (), "command of the controller that may refuse it", "COMMAND", shape="many"
        ),
        Option("user", text, "pi", "who logs in on a node", "NAME"),
        Option("secret", Parser(_read_secret), None, "the password of this user on the console", "SECRET"),
        Option("secret_file", Parser(_read_file_name), None, "file whose first line is the password", "FILE"),
        Option("console", text, "/dev/ttypi{number}", "device of a node's console", "DEVICE"),
        Option("host", text, "{name}.local", "host name or address of a node", "HOST"),
        Option("ssh_port", whole(1, 65535), None, "port of a node's ssh", "PORT"),
        Option("ssh_identity", Parser(_read_file_name), None, "file with the private key for ssh", "FILE"),
        Option("ssh_config", Parser(_read_file_name), None, "settings file for ssh", "FILE"),
    )
}
"""What can be set for a node. In texts, ``{name}``, ``{number}`` and ``{host}`` are the node's own."""

_MANY = tuple(option.name for option in NODE_OPTIONS.values() if option.shape == "many")


class NodeSettings(Frozen):
    """How one node is reached and halted. What is not set has its default."""

    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    """Where each value comes from that somebody set."""

    def __getitem__(self, name: str) -> Any:
        return self.values[name] if name in self.values else NODE_OPTIONS[name].default


def node_settings(layers: Iterable[Layer], name: str) -> NodeSettings:
    """Returns what counts for the node of this name.

    Args:
        layers: What each place sets, the first to count first. In one place, what is set for this node counts
            more than what is set for all.
        name: The node's name.
    """
    merged: Layer = {}
    for layer in layers:
        own: Layer = layer[name].value if name in layer else {}
        for key, given in (*own.items(), *layer.items()):
            if key in NODE_OPTIONS:
                merged.setdefault(key, given)
    return NodeSettings({k: v.value for k, v in merged.items()}, {k: v.origin for k, v in merged.items()})


def check_names(layers: Iterable[Layer], names: Sequence[str]) -> None:
    """Raises `SettingError` where something is set for a node that is none of these."""
    for layer in layers:
        for key, given in layer.items():
            if key not in NODE_OPTIONS and key not in names:
                raise unknown("node", key, names, given.origin)


def nodes_from_environment(prefix: str, env: Mapping[str, str]) -> Layer:
    """Returns what the variables ``…NODE_…`` set."""
    return node_layer(
        Given(from_environment(f"{prefix}NODE_", NODE_OPTIONS.values(), env), Origin("default"))
    )


def node_layer(given: Given, *, within: str = "node") -> Layer:
    """Reads the table: options for all nodes, and tables for those of a name.

    Raises:
        SettingError: A key or value is wrong.
    """
    table: Any = given.value
    if not hasattr(table, "items"):
        # Other than a number, it may be what somebody took for the place of a secret.
        shown = table if isinstance(table, int | float) else type(table).__name__
        raise invalid(within, shown, "a table such as {halt = ['console']}", given.origin)
    layer: Layer = {}
    for key, value in table.items():
        name = key.replace("-", "_") if isinstance(key, str) else key
        origin = _origin(given.origin, within, key)
        one = value if isinstance(value, Given) else Given(value, origin)
        if within == "node" and _is_node(name):
            layer[name] = Given(node_layer(one, within=name), origin)
        elif name not in NODE_OPTIONS:
            raise unknown("setting", str(key), NODE_OPTIONS, one.origin, of="a node")
        elif name in layer:
            raise SettingError(f"Setting {name} is set twice (from {one.origin})")
        else:
            layer[name] = one.replaced(value=_read(name, one))
    return layer


def read_secret_file(path: str) -> Secret:
    """Returns the secret in the first line of a file.

    Raises:
        SettingError: The file cannot be read, everybody may read it, or its first line is no secret.
    """
    try:
        with open(path, encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & 0o007:
                raise SettingError(
                    f"secret_file {path} may be read or written by everybody: let only its user do so "
                    f"('chmod 600 {path}')"
                )
            line = file.readline(_SECRET_MOST + 2)
    except OSError as error:
        raise SettingError(f"secret_file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingError(f"secret_file {path} is no text in UTF-8") from None
    try:
        return _read_secret(line.removesuffix("\n").removesuffix("\r"))
    except ValueError as error:
        raise SettingError(f"secret_file {path}: its first line is to be {error}") from None


def _is_node(name: object) -> bool:
    return isinstance(name, str) and name[:1] == "p" and name[1:].isascii() and name[1:].isdigit()


def _origin(table: Origin, within: str, key: object) -> Origin:
    return table.replaced(name=f"{table.name or within}.{key}")


def _read(name: str, given: Given) -> Any:
    parse = NODE_OPTIONS[name].parse
    if name == "secret":
        try:
            return read_value(parse, given, name)
        except SettingError:
            pass  # its text shows the value
        raise invalid(name, Secret(""), f"1 to {_SECRET_MOST} printable characters", given.origin)
    if name not in _MANY:
        return read_value(parse, given, name)
    value = given.value
    if isinstance(value, str):
        import shlex

        try:
            value = shlex.split(value)
        except ValueError as error:
            raise invalid(name, value, f"words of a shell ({error})", given.origin) from error
    if not isinstance(value, list | tuple):
        raise invalid(name, value, "a list of words", given.origin)
    words = cast("Sequence[object]", value)
    if name == "halt":
        words = [
            one for word in words for one in (word.split(",") if isinstance(word, str) else (word,)) if one
        ]
    return tuple(read_value(parse, given.replaced(value=word), name) for word in words)
