"""What the proxy is told: the command line and a TOML file, from one table.

The table is `Options` itself: each field says its group, how its text is read, its default and its help. A
value of the file is checked for its type, and is then read as the command line's text is, so that both mean
the same.
"""

# ruff: noqa: RUF009  # the calls make the dataclass's fields, as field() itself does

from __future__ import annotations

import argparse
import difflib
import ipaddress
import math
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, NoReturn, TypeVar, cast

from rpi_clusterhat import PoolSettings, SettingError, __version__
from rpi_clusterhat.nodes.probes import HttpProbe
from rpi_clusterhat.pool.activity import INTERVAL, Counters
from rpi_clusterhat.pool.balance import BALANCERS
from rpi_clusterhat.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

__all__ = [
    "SETTINGS",
    "Address",
    "HashOn",
    "OptionError",
    "Options",
    "Setting",
    "is_simulated",
    "parse",
    "read_token",
]

PROGRAM = "clusterhat-proxy"
TOKEN_VARIABLE = "RPI_CLUSTERHAT_ADMIN_TOKEN"  # noqa: S105  # the name of a variable
TOKEN_LEAST = 16
_FILE_MOST = 1 << 20
_SECONDS_MOST = 1e6
_COUNT_MOST = 10**6
_SIZE_MOST = 1 << 53
_SHOWN_MOST = 80

T = TypeVar("T")


class OptionError(Exception):
    """An option or the settings file is wrong. Its text is one line that names the place."""

    def __init__(self, text: str) -> None:
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        super().__init__(f"{line} (see --help)")


class Address(NamedTuple):
    """Where to listen or to connect. An IPv6 host has no brackets here."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class HashOn(NamedTuple):
    """What ``balance = hash`` tells clients apart by."""

    part: Literal["client", "path", "header", "cookie"]
    name: str = ""
    """Of the header field, in lower case, or of the cookie."""


# How text is read: each reader returns the value, or raises ValueError with what it must be -----------------


@dataclass(frozen=True)
class _Kind(Generic[T]):
    read: Callable[[str], T]
    types: tuple[type, ...] = (str,)
    """What a TOML file may hold."""
    words: tuple[str, ...] = ()
    """Text that may stand for a number."""

    @property
    def type_words(self) -> str:
        if self.types == (str,):
            return "text in quotes"
        words = "".join(f' or "{word}"' for word in self.words)
        return ("a whole number" if self.types == (int,) else "a number") + words


def _whole(low: int, high: int = _COUNT_MOST) -> _Kind[int]:
    def read(text: str) -> int:
        digits = text.isascii() and text.isdigit() and len(text) < 20
        if not digits or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return _Kind(read, (int,))


def _whole_or_none(high: int = _SIZE_MOST) -> _Kind[int | None]:
    """0 is None: no limit."""
    read = _whole(0, high).read
    return _Kind(lambda text: read(text) or None, (int,))


def _number_or_nan(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _seconds(*, above: bool = False, most: float = _SECONDS_MOST, or_else: str = "") -> _Kind[float]:
    def read(text: str) -> float:
        value = _number_or_nan(text)
        if not 0 <= value <= most or (above and value == 0):
            allowed = f"above 0, up to {most:g}" if above else f"from 0 to {most:g}"
            raise ValueError(f"must be seconds, a number {allowed}{or_else}")
        return value + 0.0  # no -0

    return _Kind(read, (int, float))


def _seconds_or_never() -> _Kind[float]:
    read = _seconds(above=True, or_else=", or never").read
    return _Kind(lambda text: math.inf if text == "never" else read(text), (int, float), ("never",))


def _seconds_or_none() -> _Kind[float | None]:
    """0 is None: no limit."""
    read = _seconds().read
    return _Kind(lambda text: read(text) or None, (int, float))


def _read_address(text: str, lowest_port: int) -> Address:
    host, _, port = text.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not digits or not lowest_port <= int(port) <= 65535:
        raise ValueError(f"must be HOST:PORT with a port from {lowest_port} to 65535")
    return Address(_read_host(host), int(port))


def _read_host(text: str) -> str:
    try:
        if text.startswith("[") and text.endswith("]"):
            address = ipaddress.IPv6Address(text[1:-1])
            if address.scope_id is None or re.fullmatch(r"[\w.-]+", address.scope_id, re.ASCII):
                return str(address)
        elif text.rpartition(".")[2].isdigit():
            return str(ipaddress.IPv4Address(text))
        elif re.fullmatch(
            r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", text, re.IGNORECASE | re.ASCII
        ):
            return text.lower()
    except ValueError:
        pass
    brackets = ": an address of IPv6 stands in brackets, such as [::1]:8080" if ":" in text else ""
    raise ValueError(f"must be HOST:PORT with a name or an address as host{brackets}")


def _address(lowest_port: int = 0) -> _Kind[Address]:
    return _Kind(lambda text: _read_address(text, lowest_port))


def _address_or_off() -> _Kind[Address | None]:
    return _Kind(lambda text: None if text == "off" else _read_address(text, 0))


def _read_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        beyond = ": bits are set beyond its prefix" if "host bits" in str(error) else ""
        raise ValueError(f"must be a network such as 10.0.0.0/8 or fd00::/8{beyond}") from None


def _read_node(text: str) -> tuple[str, Address]:
    name, equals, address = text.partition("=")
    if not equals or not re.fullmatch(r"p[1-9][0-9]{0,4}", name):
        raise ValueError("must be NODE=HOST:PORT with a node such as p1")
    return name, _read_address(address, 1)


def _read_pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+", key, re.ASCII) or "\0" in value:
        raise ValueError("must be KEY=VALUE")
    return key.replace("-", "_"), value


def _read_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be text")
    return text.strip()


def _read_file(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("must be the path of a file")
    path = Path(os.path.expanduser(text))  # Path's own raises where there is no such user
    try:
        if not path.exists():
            raise ValueError("must be a file: there is none")
        if path.is_dir():
            raise ValueError("must be a file: it is a folder")
    except OSError as error:
        raise ValueError(f"must be a file: {error.strerror}") from error
    if not os.access(path, os.R_OK):
        raise ValueError("must be a file that this user may read")
    return path


def _choice(*choices: str) -> _Kind[Any]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return _Kind(read)


_NAMELESS = {"client": HashOn("client"), "path": HashOn("path")}


def _read_hash_on(text: str) -> HashOn:
    part, _, name = text.partition(":")
    if text in _NAMELESS:
        return _NAMELESS[text]
    # A name is a token: RFC 9110, section 5.6.2.
    if part in ("header", "cookie") and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        return HashOn("header", name.lower()) if part == "header" else HashOn("cookie", name)
    raise ValueError("must be client, path, header:NAME or cookie:NAME")


def _read_probe_path(text: str) -> str:
    try:
        return HttpProbe("localhost", path=text).path
    except SettingError:
        raise ValueError("must start with / and be ASCII without spaces or #") from None


def _read_statuses(text: str) -> str:
    try:
        HttpProbe("localhost", expect=text)
    except SettingError:
        raise ValueError("must be statuses such as 200-399 or 200,204,300-399") from None
    return text


def _read_path_pattern(text: str) -> str:
    if not text.isprintable() or not text.startswith(("/", "*", "?", "[")):
        raise ValueError("must be a pattern of a path, such as /health*")
    return text


def _read_interface(text: str) -> str:
    try:
        return Counters(text).interface
    except SettingError:
        raise ValueError("must be a network device's name with {number} or {name} in it") from None


# The table --------------------------------------------------------------------------------------------------

_POOL = PoolSettings()


@dataclass(frozen=True)
class Setting:
    """One option. Its name is that of the field in `Options`."""

    group: str
    kind: _Kind[Any]
    metavar: str
    help: str
    default: str = ""
    """As it is shown and read; empty where there is none."""
    shape: Literal["one", "many", "pairs", "switch"] = "one"


def _one(group: str, kind: _Kind[T], default: str, metavar: str, text: str) -> T:
    setting = Setting(group, kind, metavar, text, default)
    return field(default=kind.read(default), metadata={"setting": setting})


def _optional(group: str, kind: _Kind[T], metavar: str, text: str) -> T | None:
    return cast("T | None", field(default=None, metadata={"setting": Setting(group, kind, metavar, text)}))


def _many(group: str, kind: _Kind[T], default: str, metavar: str, text: str) -> tuple[T, ...]:
    values = (kind.read(default),) if default else ()
    setting = Setting(group, kind, metavar, f"{text}; may be repeated", default, "many")
    return cast("tuple[T, ...]", field(default=values, metadata={"setting": setting}))


def _pairs(group: str, kind: _Kind[tuple[str, T]], metavar: str, text: str) -> Mapping[str, T]:
    setting = Setting(group, kind, metavar, f"{text}; may be repeated", shape="pairs")
    return cast("Mapping[str, T]", field(default_factory=dict, metadata={"setting": setting}))


def _switch(group: str, default: bool, text: str) -> bool:
    setting = Setting(group, _Kind(str, (bool,)), "", text, "on" if default else "off", "switch")
    return field(default=default, metadata={"setting": setting})


_LISTENING = "listening"
_CLUSTER = "cluster (what is not said is looked for where the library looks)"
_NODES = "nodes"
_ROUTING = "routing"
_DEMAND = "on demand"
_LIMITS = "limits"
_TIMEOUTS = "time-outs"
_ENDING = "ending"
_ADMIN = "administration"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything that the proxy can be told. Times are in seconds, sizes in bytes."""

    listen: tuple[Address, ...] = _many(
        _LISTENING,
        _address(),
        "127.0.0.1:8080",
        "HOST:PORT",
        "where clients connect; port 0 for any that is free",
    )
    admin: Address | None = _one(
        _LISTENING,
        _address_or_off(),
        "127.0.0.1:8081",
        "HOST:PORT",
        "status, metrics and switching; off for none",
    )
    tls_cert: Path | None = _optional(
        _LISTENING,
        _Kind(_read_file),
        "FILE",
        "HTTPS with this certificate and chain, PEM; may hold the key too",
    )
    tls_key: Path | None = _optional(_LISTENING, _Kind(_read_file), "FILE", "key of the certificate, PEM")
    trust_proxy: tuple[IPv4Network | IPv6Network, ...] = _many(
        _LISTENING,
        _Kind(_read_network),
        "",
        "CIDR",
        "peers whose Forwarded and X-Forwarded-* fields are believed",
    )

    backend: str | None = _optional(
        _CLUSTER, _Kind(_read_text), "NAME", "gpiod, sysfs, i2c, sim or a plugin's"
    )
    board: str | None = _optional(_CLUSTER, _Kind(_read_text), "VERSION", "version of the HAT, such as 2.3")
    spacing: float | None = _optional(_CLUSTER, _seconds(most=3600), "S", "between two power-ups")
    option: Mapping[str, str] = _pairs(_CLUSTER, _Kind(_read_pair), "KEY=VALUE", "option of the backend")
    cluster_config: Path | None = _optional(
        _CLUSTER, _Kind(_read_file), "FILE", "the library's settings file, TOML"
    )
    boot_time: float | None = _optional(
        _CLUSTER, _seconds(), "S", "how long a simulated node boots, for the backend sim only"
    )
    nodes: int | None = _optional(_CLUSTER, _whole(1, 4), "N", "how many sockets of the HAT are in use")

    node: Mapping[str, Address] = _pairs(
        _NODES, _Kind(_read_node), "pN=HOST:PORT", "where a node answers, instead of pN.local"
    )
    node_port: int = _one(_NODES, _whole(1, 65535), "80", "PORT", "port of nodes that are found as pN.local")
    probe: Literal["tcp", "http"] = _one(
        _NODES, _choice("tcp", "http"), "tcp", "tcp|http", "how to see that a node is up"
    )
    probe_path: str = _one(_NODES, _Kind(_read_probe_path), "/", "PATH", "what the http probe asks for")
    probe_expect: str = _one(
        _NODES,
        _Kind(_read_statuses),
        "200-399",
        "STATUSES",
        "answers to it that count, such as 200,204,300-399",
    )
    probe_interval: float = _one(
        _NODES,
        _seconds(above=True),
        f"{_POOL.probe_interval:g}",
        "S",
        "between two probes of a node that starts",
    )
    probe_timeout: float | None = _optional(
        _NODES, _seconds(above=True), "S", "how long one probe may take (tcp 0.3, http 1)"
    )
    ready_after: float = _one(
        _NODES,
        _seconds(),
        f"{_POOL.ready_after:g}",
        "S",
        "how long it must have answered before the node is used",
    )

    balance: str = _one(
        _ROUTING, _choice(*BALANCERS), _POOL.balance, "|".join(BALANCERS), "which node gets a request"
    )
    hash_on: HashOn = _one(
        _ROUTING, _Kind(_read_hash_on), "client", "KEY", "for hash: client, path, header:NAME or cookie:NAME"
    )
    mode: Literal["forward", "redirect"] = _one(
        _ROUTING,
        _choice("forward", "redirect"),
        "forward",
        "forward|redirect",
        "pass requests on, or answer 307",
    )
    maxconn: int = _one(_ROUTING, _whole(1), f"{_POOL.maxconn}", "N", "requests in flight per node")
    queue: int = _one(
        _ROUTING, _whole(0), f"{_POOL.queue}", "N", "requests that may wait; those beyond are refused at once"
    )
    redispatch: bool = _switch(_ROUTING, _POOL.redispatch, "try another node where one does not boot")
    retry_after_failure: float = _one(
        _ROUTING,
        _seconds(),
        f"{_POOL.retry_after_failure:g}",
        "S",
        "how long a node that failed is left alone at first",
    )

    idle_timeout: float = _one(
        _DEMAND,
        _seconds_or_never(),
        f"{_POOL.idle_timeout:g}",
        "S",
        "without activity before a node goes off; or never",
    )
    """``math.inf`` for never."""
    min_on_time: float = _one(
        _DEMAND, _seconds(), f"{_POOL.min_on_time:g}", "S", "that a node stays on at least"
    )
    boot_timeout: float = _one(
        _DEMAND,
        _seconds(above=True),
        f"{_POOL.boot_timeout:g}",
        "S",
        "after which a node that is not up has failed",
    )
    boot_estimate: float = _one(
        _DEMAND,
        _seconds(),
        f"{_POOL.boot_estimate:g}",
        "S",
        "that a boot is thought to take until one was seen",
    )
    cold: Literal["hold", "page", "auto"] = _one(
        _DEMAND,
        _choice("hold", "page", "auto"),
        "auto",
        "hold|page|auto",
        "a node that starts: hold the request, answer 503 meanwhile, or choose by what the client accepts",
    )
    ignore_path: tuple[str, ...] = _many(
        _DEMAND,
        _Kind(_read_path_pattern),
        "",
        "PATTERN",
        "requests for such paths neither wake a node nor keep it awake (with * and ?)",
    )
    ignore_agent: tuple[str, ...] = _many(
        _DEMAND,
        _Kind(_read_text),
        "",
        "PATTERN",
        "the same for user agents, in upper or lower case (with * and ?)",
    )
    network_activity: int | None = _one(
        _DEMAND,
        _whole_or_none(),
        "0",
        "BYTES",
        f"so much in {INTERVAL:g} s on a node's network device keeps it awake; 0 to not look",
    )
    """None for 0."""
    network_interface: str = _one(
        _DEMAND,
        _Kind(_read_interface),
        "ethpi{number}",
        "PATTERN",
        "that device's name, with {number} or {name}",
    )

    max_connections: int = _one(_LIMITS, _whole(1), "16384", "N", "of clients in all")
    max_connections_per_client: int = _one(_LIMITS, _whole(1), "10000", "N", "from one address")
    max_header_size: int = _one(
        _LIMITS, _whole(1024, 1 << 24), "32768", "BYTES", "of all header fields of a message"
    )
    max_request_line: int = _one(_LIMITS, _whole(64, 1 << 24), "8192", "BYTES", "of the request line")
    max_headers: int = _one(_LIMITS, _whole(1, 10000), "100", "N", "header fields of a message")
    max_body: int | None = _one(_LIMITS, _whole_or_none(), "0", "BYTES", "of a request; 0 for no limit")
    """None for no limit."""
    min_body_rate: int = _one(
        _LIMITS, _whole(0, 10**9), "500", "BYTES_PER_S", "at which a client must send a body; 0 for any"
    )

    timeout_queue: float = _one(
        _TIMEOUTS, _seconds(above=True), f"{_POOL.queue_timeout:g}", "S", "how long a request is held"
    )
    timeout_connect: float = _one(
        _TIMEOUTS, _seconds(above=True), "5", "S", "to connect to a node that is up"
    )
    timeout_http_request: float = _one(
        _TIMEOUTS, _seconds(above=True), "10", "S", "for a request's whole head"
    )
    timeout_http_keep_alive: float = _one(_TIMEOUTS, _seconds(above=True), "60", "S", "between two requests")
    timeout_client: float = _one(
        _TIMEOUTS, _seconds(above=True), "60", "S", "of silence of a client that sends or takes a body"
    )
    timeout_server: float = _one(
        _TIMEOUTS, _seconds(above=True), "120", "S", "for a response's head, and of silence within its body"
    )
    timeout_tunnel: float | None = _one(
        _TIMEOUTS, _seconds_or_none(), "0", "S", "of silence of an upgraded connection; 0 for no limit"
    )
    """None for no limit."""

    drain_timeout: float = _one(_ENDING, _seconds(), "30", "S", "for what is in flight when the proxy ends")
    off_at_exit: bool = _switch(_ENDING, False, "switch the nodes off at the end")

    admin_token_file: Path | None = _optional(
        _ADMIN,
        _Kind(_read_file),
        "FILE",
        f"secret for switching by hand (else {TOKEN_VARIABLE}; none: no switching)",
    )
    log_level: Literal["warning", "info", "debug"] = _one(
        _ADMIN,
        _choice("warning", "info", "debug"),
        "info",
        "warning|info|debug",
        "what is logged to standard error",
    )
    access_log: bool = _switch(_ADMIN, False, "log each request")

    admin_token: str | None = field(default=None, repr=False)
    """From the file or the environment."""

    def pool_settings(self) -> PoolSettings:
        return PoolSettings(
            balance=self.balance,
            maxconn=self.maxconn,
            queue=self.queue,
            queue_timeout=self.timeout_queue,
            boot_timeout=self.boot_timeout,
            boot_estimate=self.boot_estimate,
            probe_interval=self.probe_interval,
            ready_after=self.ready_after,
            idle_timeout=self.idle_timeout,
            min_on_time=self.min_on_time,
            retry_after_failure=self.retry_after_failure,
            redispatch=self.redispatch,
        )

    def cluster_arguments(self) -> dict[str, Any]:
        """What `AsyncCluster.open` is to be told. None where the library is to look itself."""
        options: dict[str, object] = dict(self.option)
        if self.boot_time is not None:
            options["boot_time"] = self.boot_time
        return {
            "board": self.board,
            "backend": self.backend,
            "options": options or None,
            "nodes": self.nodes,
            "spacing": self.spacing,
            "config": str(self.cluster_config) if self.cluster_config else None,
        }

    def addresses(
        self, names: Sequence[str], known: Mapping[str, tuple[str, int]] | None = None
    ) -> dict[str, Address]:
        """Where each of the cluster's nodes answers: as said, as the backend knows, or as pN.local.

        Raises `OptionError` where an address was said for a node that is not there.
        """
        for name in self.node:
            if name not in names:
                raise OptionError(f"--node: {name}: the cluster has no such node: it has {', '.join(names)}")
        found = {name: Address(f"{name}.local", self.node_port) for name in names}
        return found | {name: Address(*address) for name, address in (known or {}).items()} | dict(self.node)


SETTINGS: Mapping[str, Setting] = {f.name: f.metadata["setting"] for f in fields(Options) if f.metadata}
"""The table, by field name: an option is called so with ``-`` instead of ``_``."""


# The command line -------------------------------------------------------------------------------------------

_EPILOG = """\
Each option is also a key of the TOML file, where on and off are true and false, repeated ones are lists, and
--node and --option are tables, [nodes] and [option]. The command line counts more than the file; of the two
tables, pair by pair. The file may hold nothing else.

exit codes: 0 ended by a signal or Ctrl-C, 1 something failed, 2 told something wrong
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


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
    parser.add_argument("--config", metavar="FILE", help="settings, TOML")
    groups: dict[str, argparse._ArgumentGroup] = {}  # pyright: ignore[reportPrivateUsage]  # no public name
    for name, setting in SETTINGS.items():
        if setting.group not in groups:
            groups[setting.group] = parser.add_argument_group(setting.group)
        add = groups[setting.group].add_argument
        default = f" (default: {setting.default})" if setting.default else ""
        text = f"{setting.help}{default}".replace("%", "%%")
        flag = _flag(name)
        if setting.shape == "switch":
            add(flag, action=argparse.BooleanOptionalAction, help=text)
        elif setting.shape == "one":
            add(flag, metavar=setting.metavar, help=text)
        else:
            add(flag, metavar=setting.metavar, action="append", help=text)
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# The file ---------------------------------------------------------------------------------------------------


def _load(path: str) -> dict[str, Any]:
    """What the file says, by field name."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            text = file.read(_FILE_MOST + 1)
        table = tomllib.loads(text.decode()) if len(text) <= _FILE_MOST else None
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also a path with NUL, and a number of 5,000 digits
        raise OptionError(f"{path}: is not TOML: {error}") from error
    if table is None:
        raise OptionError(f"{path}: is longer than {_FILE_MOST >> 10} KiB: not a settings file")
    said: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name == "nodes" and isinstance(value, dict):  # a number is that of --nodes
            name = "node"
        if name not in SETTINGS:
            near = difflib.get_close_matches(name, SETTINGS, 1)
            hint = f": is it {near[0].replace('_', '-')}?" if near else ""
            raise OptionError(f"{path}: there is no key {key!r}{hint}")
        if name in said:
            raise OptionError(f"{path}: {key}: is said twice")
        said[name] = value
    return said


def _texts(setting: Setting, value: object, where: str) -> list[str]:
    """A value of the file as the texts that the command line would have."""
    if isinstance(value, dict) and setting.shape == "pairs":
        return [_pair(setting, key, item, where) for key, item in cast("dict[str, Any]", value).items()]
    items: list[object] = [value]
    if isinstance(value, list) and setting.shape != "one":
        items = cast("list[object]", value)
    kind = setting.kind
    for item in items:
        if type(item) not in kind.types and item not in kind.words:
            expected = kind.type_words if setting.shape == "one" else f"{kind.type_words}, or a list of such"
            if setting.shape == "pairs":
                expected = f"a table or a list of {setting.metavar}"
            raise OptionError(f"{where}: {_shown(item)}: must be {expected}")
    return [_as_text(item, where) for item in items]


def _pair(setting: Setting, key: str, value: object, where: str) -> str:
    allowed = (str,) if setting.metavar.startswith("pN") else (str, int, float, bool)
    if type(value) not in allowed or "=" in key:
        expected = "text in quotes" if allowed == (str,) else "text, a number, true or false"
        raise OptionError(f"{where}.{key}: {_shown(value)}: must be {expected}")
    return f"{key}={_as_text(value, where)}"


def _as_text(value: object, where: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    try:
        return str(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        raise OptionError(f"{where}: must not have thousands of digits") from None


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a huge number"
    return text if len(text) <= _SHOWN_MOST else f"{text[:_SHOWN_MOST]}…"


# Both together ----------------------------------------------------------------------------------------------


def parse(argv: Sequence[str], env: Mapping[str, str] = os.environ) -> Options:
    """Options from the arguments (without the program's name) and the file that they name.

    Raises `OptionError`, and `SystemExit` after ``--help`` and ``--version``.
    """
    line = vars(_parser().parse_args(argv))
    config: str | None = line.pop("config", None)
    file = {} if config is None else _load(config)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        if name in file:
            places[name] = f"{config}: {name.replace('_', '-')}"
            values[name] = _from_file(setting, file[name], places[name])
        if name in line:
            places[name] = _flag(name)
            value = _from_line(setting, line[name], places[name])
            values[name] = {**values.get(name, {}), **value} if setting.shape == "pairs" else value
    options = Options(**values, admin_token=_token(values.get("admin_token_file"), places, env))
    _check(options, places, env)
    return options


def _from_line(setting: Setting, said: Any, where: str) -> Any:
    if setting.shape == "switch":
        return said
    return _value(setting, [said] if setting.shape == "one" else said, where)


def _from_file(setting: Setting, said: Any, where: str) -> Any:
    if setting.shape == "switch":
        if not isinstance(said, bool):
            raise OptionError(f"{where}: {_shown(said)}: must be true or false")
        return said
    return _value(setting, _texts(setting, said, where), where)


def _value(setting: Setting, texts: Sequence[str], where: str) -> Any:
    values: list[Any] = []
    for text in texts:
        try:
            values.append(setting.kind.read(text))
        except ValueError as error:
            raise OptionError(f"{where}: {_shown(text)}: {error}") from error
    if setting.shape == "one":
        return values[0]
    if setting.shape == "many":
        return tuple(values)
    pairs = dict(values)
    if len(pairs) < len(values):
        keys = [key for key, _ in values]
        raise OptionError(f"{where}: {next(key for key in keys if keys.count(key) > 1)} is said twice")
    return pairs


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


def _token(path: Path | None, places: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    if path is not None:
        return read_token(path, places["admin_token_file"])
    token = env.get(TOKEN_VARIABLE)
    return _checked_token(token, TOKEN_VARIABLE) if token else None


def _check(options: Options, places: Mapping[str, str], env: Mapping[str, str]) -> None:
    """What no option can know alone."""
    if options.tls_key and not options.tls_cert:
        raise OptionError(f"{places['tls_key']}: needs --tls-cert too")
    if not options.listen:
        raise OptionError(f"{places['listen']}: must hold at least one HOST:PORT")
    fixed = [address for address in (*options.listen, options.admin) if address and address.port]
    for address in fixed:
        if fixed.count(address) > 1:
            raise OptionError(f"--listen, --admin: {address}: is said twice")
    if options.boot_time is not None:
        if "boot_time" in options.option:
            raise OptionError(f"{places['boot_time']}: give it or --option boot_time=S, not both")
        if not is_simulated(options, env):
            raise OptionError(f"{places['boot_time']}: is for a simulation: say --backend sim too")
    try:
        options.pool_settings()
    except SettingError as error:
        raise OptionError(str(error)) from error


def is_simulated(options: Options, env: Mapping[str, str]) -> bool:
    """Whether all boards are simulated, as far as these options, the environment and the library's settings
    file say. Raises `OptionError` for a settings file that is wrong."""
    if options.backend is not None:
        return options.backend == "sim"
    config = str(options.cluster_config) if options.cluster_config else None
    try:
        return all(board.backend == "sim" for board in load_settings({}, config=config, env=env).boards)
    except SettingError as error:
        raise OptionError(str(error)) from error
