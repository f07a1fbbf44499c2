"""The proxy's options, in one table: `Options` itself.

Each field has its group, how its text is read, its default and its help.
"""

# ruff: noqa: RUF009  # the calls make the dataclass's fields, as field() itself does

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from rpi_clusterhat import PoolSettings
from rpi_clusterhat.pool.activity import INTERVAL
from rpi_clusterhat.pool.balance import BALANCERS
from rpi_clusterhat.settings import Option, Parser, parse_bool
from rpi_clusterhat.settings.option import choice

from . import option_types as types
from .option_types import Address, HashOn, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

__all__ = ["ENV_PREFIX", "SETTINGS", "TOKEN_VARIABLE", "Options"]

ENV_PREFIX = "CLUSTERHAT_PROXY_"
TOKEN_VARIABLE = "CLUSTERHAT_PROXY_ADMIN_TOKEN"  # noqa: S105  # the name of a variable

T = TypeVar("T")

_POOL = PoolSettings()


def _field(option: Option, default: Any) -> Any:
    return field(default=default, metadata={"option": option})


def _one(group: str, parse: Parser[T], shown: str, metavar: str, help_: str) -> T:
    default = parse(shown)
    return cast("T", _field(Option("", parse, default, help_, metavar, group, shown=shown), default))


def _optional(group: str, parse: Parser[T], metavar: str, help_: str) -> T | None:
    return cast("T | None", _field(Option("", parse, None, help_, metavar, group), None))


def _many(group: str, parse: Parser[T], shown: str, metavar: str, help_: str) -> tuple[T, ...]:
    default = (parse(shown),) if shown else ()
    option = Option("", parse, default, f"{help_}; may be repeated", metavar, group, "many", shown)
    return cast("tuple[T, ...]", _field(option, default))


def _pairs(
    group: str, parse: Parser[tuple[str, T]], metavar: str, help_: str, *flags: str
) -> Mapping[str, T]:
    option = Option("", parse, {}, f"{help_}; may be repeated", metavar, group, "pairs", flags=flags)
    return cast("Mapping[str, T]", field(default_factory=dict, metadata={"option": option}))


def _switch(group: str, default: bool, help_: str) -> bool:
    parse = Parser(parse_bool.read, (bool,))
    shown = "on" if default else "off"
    return cast("bool", _field(Option("", parse, default, help_, "", group, "switch", shown), default))


_LISTENING = "listening"
_CLUSTER = "cluster (the library's own settings hold for what is not given)"
_NODES = "nodes"
_ROUTING = "routing"
_DEMAND = "on demand"
_LIMITS = "limits"
_TIMEOUTS = "time-outs"
_ENDING = "ending"
_ADMIN = "administration"


@dataclass(frozen=True, kw_only=True)
class Options:
    """All options of the proxy. Times are in seconds, sizes in bytes."""

    listen: tuple[Address, ...] = _many(
        _LISTENING,
        types.address,
        "127.0.0.1:8080",
        "HOST:PORT",
        "where clients connect; port 0 for any that is free",
    )
    admin: Address | None = _one(
        _LISTENING,
        types.address_or_off,
        "127.0.0.1:8081",
        "HOST:PORT",
        "status, metrics and switching; off for none",
    )
    tls_cert: Path | None = _optional(
        _LISTENING,
        types.file,
        "FILE",
        "HTTPS with this certificate and chain, PEM; may hold the key too",
    )
    tls_key: Path | None = _optional(_LISTENING, types.file, "FILE", "key of the certificate, PEM")
    trust_proxy: tuple[IPv4Network | IPv6Network, ...] = _many(
        _LISTENING,
        types.network,
        "",
        "CIDR",
        "peers whose Forwarded and X-Forwarded-* fields are believed",
    )

    backend: str | None = _optional(_CLUSTER, types.printable, "NAME", "gpiod, sysfs, i2c, sim or a plugin's")
    board: str | None = _optional(_CLUSTER, types.printable, "VERSION", "version of the HAT, such as 2.3")
    spacing: float | None = _optional(
        _CLUSTER, types.time(most=3600), "S", "least time between two power-ups"
    )
    options: Mapping[str, str] = _pairs(
        _CLUSTER, types.pair, "KEY=VALUE", "option of the backend", "-o", "--option"
    )
    cluster_config: Path | None = _optional(_CLUSTER, types.file, "FILE", "the library's settings file, TOML")
    boot_time: float | None = _optional(
        _CLUSTER, types.time(), "S", "how long a simulated node boots, for the backend sim only"
    )
    nodes: int | None = _optional(_CLUSTER, types.count(1, 4), "N", "how many sockets of the HAT are in use")

    node: Mapping[str, Address] = _pairs(
        _NODES, types.node, "pN=HOST:PORT", "where a node answers, instead of pN.local"
    )
    node_port: int = _one(
        _NODES, types.count(1, 65535), "80", "PORT", "port of nodes that are found as pN.local"
    )
    probe: Literal["http", "tcp"] = _one(
        _NODES, choice("http", "tcp"), "http", "http|tcp", "how to see that a node is up"
    )
    probe_path: str = _one(_NODES, types.probe_path, "/", "PATH", "what the http probe asks for")
    probe_expect: str = _one(
        _NODES,
        types.statuses,
        "200-499",
        "STATUSES",
        "statuses that count, such as 200,204,300-399",
    )
    probe_interval: float = _one(
        _NODES,
        types.time(above=True),
        f"{_POOL.probe_interval:g}",
        "S",
        "time between two probes of a node that is starting",
    )
    probe_timeout: float | None = _optional(
        _NODES, types.time(above=True), "S", "how long one probe may take (http 5, tcp 0.3)"
    )
    ready_after: float = _one(
        _NODES,
        types.time(),
        f"{_POOL.ready_after:g}",
        "S",
        "how long the probe must have answered before the node is used",
    )

    balance: str = _one(
        _ROUTING, choice(*BALANCERS), _POOL.balance, "|".join(BALANCERS), "which node gets a request"
    )
    hash_on: HashOn = _one(
        _ROUTING, types.hash_on, "client", "KEY", "for hash: client, path, header:NAME or cookie:NAME"
    )
    mode: Literal["forward", "redirect"] = _one(
        _ROUTING,
        choice("forward", "redirect"),
        "forward",
        "forward|redirect",
        "pass requests on, or answer 307",
    )
    maxconn: int = _one(_ROUTING, types.count(1), f"{_POOL.maxconn}", "N", "requests in flight per node")
    queue: int = _one(
        _ROUTING,
        types.count(0),
        f"{_POOL.queue}",
        "N",
        "requests that may wait; further ones are refused at once",
    )
    redispatch: bool = _switch(_ROUTING, _POOL.redispatch, "try another node if one does not boot")
    retry_after_failure: float = _one(
        _ROUTING,
        types.time(),
        f"{_POOL.retry_after_failure:g}",
        "S",
        "back-off of a node that failed; doubles each time",
    )
    boot_attempts: int = _one(
        _ROUTING,
        types.count(1),
        f"{_POOL.boot_attempts}",
        "N",
        "boots in a row that may time out until the node is quarantined",
    )
    quarantine: float = _one(
        _ROUTING,
        types.time_or_never(),
        f"{_POOL.quarantine:g}",
        "S",
        "how long it is quarantined, unless switched on by hand; or never, for without end",
    )
    """``math.inf`` for without end."""

    idle_timeout: float = _one(
        _DEMAND,
        types.time_or_never(),
        f"{_POOL.idle_timeout:g}",
        "S",
        "how long a node may be idle before it goes off; or never",
    )
    """``math.inf`` for never."""
    min_on_time: float = _one(
        _DEMAND, types.time(), f"{_POOL.min_on_time:g}", "S", "how long a node stays on at least"
    )
    boot_timeout: float = _one(
        _DEMAND,
        types.time(above=True),
        f"{_POOL.boot_timeout:g}",
        "S",
        "how long a boot may take before the node has failed",
    )
    boot_estimate: float = _one(
        _DEMAND,
        types.time(),
        f"{_POOL.boot_estimate:g}",
        "S",
        "how long a boot is expected to take before the first one",
    )
    boot_history: Path | None = _optional(
        _DEMAND,
        types.new_file,
        "FILE",
        "where each boot's duration and outcome are kept; it is made where it is missing",
    )
    cold: Literal["hold", "page", "auto"] = _one(
        _DEMAND,
        choice("hold", "page", "auto"),
        "auto",
        "hold|page|auto",
        "while a node starts: hold the request, answer 503, or choose by what the client accepts",
    )
    ignore_path: tuple[str, ...] = _many(
        _DEMAND,
        types.path_pattern,
        "",
        "PATTERN",
        "paths whose requests neither start a node nor keep it on (with * and ?)",
    )
    ignore_agent: tuple[str, ...] = _many(
        _DEMAND,
        types.printable,
        "",
        "PATTERN",
        "user agents whose requests do not either (with * and ?, in any case)",
    )
    network_activity: int | None = _one(
        _DEMAND,
        types.size_or_none(),
        "0",
        "BYTES",
        f"traffic in {INTERVAL:g} s on a node's network device that keeps it on; 0 to ignore it",
    )
    """None for 0."""
    network_interface: str = _one(
        _DEMAND,
        types.interface,
        "ethpi{number}",
        "PATTERN",
        "name of that device, with {number} or {name}",
    )

    max_connections: int = _one(_LIMITS, types.count(1), "16384", "N", "connections of all clients")
    max_connections_per_client: int = _one(
        _LIMITS, types.count(1), "10000", "N", "connections from one address"
    )
    max_header_size: int = _one(
        _LIMITS, types.count(1024, 1 << 24), "32768", "BYTES", "size of all header fields of a message"
    )
    max_request_line: int = _one(
        _LIMITS, types.count(64, 1 << 24), "8192", "BYTES", "length of the request line"
    )
    max_headers: int = _one(
        _LIMITS, types.count(1, 10000), "100", "N", "number of header fields of a message"
    )
    max_body: int | None = _one(
        _LIMITS, types.size_or_none(), "0", "BYTES", "length of a request's body; 0 for no limit"
    )
    """None for no limit."""
    min_body_rate: int = _one(
        _LIMITS,
        types.count(0, 10**9),
        "500",
        "BYTES_PER_S",
        "rate at which a client must send a body; 0 for no limit",
    )

    queue_timeout: float = _one(
        _TIMEOUTS, types.time(above=True), f"{_POOL.queue_timeout:g}", "S", "how long a request is held"
    )
    timeout_connect: float = _one(
        _TIMEOUTS, types.time(above=True), "5", "S", "how long connecting to a node may take"
    )
    timeout_http_request: float = _one(
        _TIMEOUTS, types.time(above=True), "10", "S", "how long the head of a request may take"
    )
    timeout_http_keep_alive: float = _one(
        _TIMEOUTS, types.time(above=True), "60", "S", "how long a connection may be idle between two requests"
    )
    timeout_client: float = _one(
        _TIMEOUTS,
        types.time(above=True),
        "60",
        "S",
        "how long a client may be silent while it sends or receives a body",
    )
    timeout_server: float = _one(
        _TIMEOUTS,
        types.time(above=True),
        "120",
        "S",
        "how long a node may be silent before the head of its response, and within the body",
    )
    timeout_tunnel: float | None = _one(
        _TIMEOUTS,
        types.time_or_none(),
        "0",
        "S",
        "how long an upgraded connection may be silent; 0 for no limit",
    )
    """None for no limit."""

    drain_timeout: float = _one(
        _ENDING, types.time(), "30", "S", "how long requests may take when the proxy ends"
    )
    off_at_exit: bool = _switch(_ENDING, False, "switch the nodes off at the end")

    admin_token_file: Path | None = _optional(
        _ADMIN,
        types.file,
        "FILE",
        f"secret for switching by hand, else {TOKEN_VARIABLE}; without it nobody can",
    )
    log_level: Literal["warning", "info", "debug"] = _one(
        _ADMIN,
        choice("warning", "info", "debug"),
        "info",
        "warning|info|debug",
        "least level of what is logged to standard error",
    )
    access_log: bool = _switch(_ADMIN, False, "log each request")

    admin_token: str | None = field(default=None, repr=False)
    """From the file or the environment."""

    def pool_settings(self) -> PoolSettings:
        return PoolSettings(
            balance=self.balance,
            maxconn=self.maxconn,
            queue=self.queue,
            queue_timeout=self.queue_timeout,
            boot_timeout=self.boot_timeout,
            boot_estimate=self.boot_estimate,
            probe_interval=self.probe_interval,
            ready_after=self.ready_after,
            idle_timeout=self.idle_timeout,
            min_on_time=self.min_on_time,
            retry_after_failure=self.retry_after_failure,
            redispatch=self.redispatch,
            boot_attempts=self.boot_attempts,
            quarantine=self.quarantine,
        )

    def cluster_arguments(self) -> dict[str, Any]:
        """What `AsyncCluster.open` is to be told. None where the library is to look itself."""
        options: dict[str, object] = dict(self.options)
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


SETTINGS: Mapping[str, Option] = {
    f.name: f.metadata["option"].replaced(name=f.name) for f in fields(Options) if f.metadata
}
"""The table, by field name."""
