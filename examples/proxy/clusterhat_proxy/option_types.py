"""How the proxy's own types of options are read: addresses, networks, files, patterns.

Each reader raises ValueError, whose text says what is expected.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rpi_clusterhat import SettingError
from rpi_clusterhat.nodes.probes import HttpProbe
from rpi_clusterhat.pool.activity import Counters
from rpi_clusterhat.settings import Parser
from rpi_clusterhat.settings.option import seconds, whole

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

__all__ = [
    "Address",
    "HashOn",
    "OptionError",
    "address",
    "address_or_off",
    "count",
    "file",
    "hash_on",
    "interface",
    "network",
    "new_file",
    "node",
    "pair",
    "path_pattern",
    "printable",
    "probe_path",
    "size_or_none",
    "statuses",
    "time",
    "time_or_never",
    "time_or_none",
]

_SECONDS_MOST = 1e6
_COUNT_MOST = 10**6
_SIZE_MOST = 1 << 53


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


# Numbers ----------------------------------------------------------------------------------------------------


def count(low: int, high: int = _COUNT_MOST) -> Parser[int]:
    return whole(low, high)


def size_or_none() -> Parser[int | None]:
    """0 is None: no limit."""
    read = whole(0, _SIZE_MOST)
    return Parser(lambda text: read(text) or None, (int,))


def time(*, above: bool = False, most: float = _SECONDS_MOST) -> Parser[float]:
    return seconds(most, above=above)


def time_or_never() -> Parser[float]:
    read = seconds(_SECONDS_MOST, above=True, or_else=", or never")
    return Parser(lambda text: math.inf if text == "never" else read(text), (int, float), ("never",))


def time_or_none() -> Parser[float | None]:
    """0 is None: no limit."""
    read = seconds(_SECONDS_MOST)
    return Parser(lambda text: read(text) or None, (int, float))


# Places -----------------------------------------------------------------------------------------------------


def _read_address(text: str, lowest_port: int) -> Address:
    host, _, port = text.rpartition(":")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not digits or not lowest_port <= int(port) <= 65535:
        raise ValueError(f"HOST:PORT with a port from {lowest_port} to 65535")
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
    raise ValueError(f"HOST:PORT with a name or an address as host{brackets}")


address = Parser(lambda text: _read_address(text, 0))
address_or_off = Parser(lambda text: None if text == "off" else _read_address(text, 0))


def _read_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        beyond = ": bits are set beyond its prefix" if "host bits" in str(error) else ""
        raise ValueError(f"a network such as 10.0.0.0/8 or fd00::/8{beyond}") from None


network = Parser(_read_network)


def _read_node(text: str) -> tuple[str, Address]:
    name, equals, address = text.partition("=")
    if not equals or not re.fullmatch(r"p[1-9][0-9]{0,4}", name):
        raise ValueError("NODE=HOST:PORT with a node such as p1")
    return name, _read_address(address, 1)


node = Parser(_read_node)


def _read_pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[\w-]+", key, re.ASCII) or "\0" in value:
        raise ValueError("KEY=VALUE")
    return key.replace("-", "_"), value


pair = Parser(_read_pair, (str, int, float, bool))


def _read_text(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("text")
    return text.strip()


printable = Parser(_read_text)


def _read_file(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("the path of a file")
    path = Path(os.path.expanduser(text))  # Path's own raises where there is no such user
    try:
        if not path.exists():
            raise ValueError("a file that exists: there is none")
        if path.is_dir():
            raise ValueError("a file, not a folder")
    except OSError as error:
        raise ValueError(f"a file: {error.strerror}") from error
    if not os.access(path, os.R_OK):
        raise ValueError("a file that this user may read")
    return path


file = Parser(_read_file)


def _read_new_file(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError("the path of a file")
    path = Path(os.path.expanduser(text))
    try:
        if path.is_dir():
            raise ValueError("a file, not a folder")
    except OSError as error:
        raise ValueError(f"a file: {error.strerror}") from error
    return path


new_file = Parser(_read_new_file)


_NAMELESS = {"client": HashOn("client"), "path": HashOn("path")}


def _read_hash_on(text: str) -> HashOn:
    part, _, name = text.partition(":")
    if text in _NAMELESS:
        return _NAMELESS[text]
    # A name is a token: RFC 9110, section 5.6.2.
    if part in ("header", "cookie") and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        return HashOn("header", name.lower()) if part == "header" else HashOn("cookie", name)
    raise ValueError("client, path, header:NAME or cookie:NAME")


hash_on = Parser(_read_hash_on)


def _read_probe_path(text: str) -> str:
    try:
        return HttpProbe("localhost", path=text).path
    except SettingError:
        raise ValueError("a path that starts with /, in ASCII, without spaces or #") from None


probe_path = Parser(_read_probe_path)


def _read_statuses(text: str) -> str:
    try:
        HttpProbe("localhost", expect=text)
    except SettingError:
        raise ValueError("statuses such as 200-399 or 200,204,300-399") from None
    return text


statuses = Parser(_read_statuses)


def _read_path_pattern(text: str) -> str:
    if not text.isprintable() or not text.startswith(("/", "*", "?", "[")):
        raise ValueError("a pattern of a path, such as /health*")
    return text


path_pattern = Parser(_read_path_pattern)


def _read_interface(text: str) -> str:
    try:
        return Counters(text).interface
    except SettingError:
        raise ValueError("a network device's name with {number} or {name} in it") from None


interface = Parser(_read_interface)
