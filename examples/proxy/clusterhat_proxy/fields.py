"""Header fields on their way through a gateway (RFC 9110, section 7.6; RFC 7239).

A field is a tuple of its name in lower case, its name as it came, and its value.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "Field",
    "Forwarding",
    "connection_options",
    "end_to_end",
    "fewer_hops",
    "is_upgrade",
    "tokens",
    "trailer_fields",
]

Field = tuple[bytes, bytes, bytes]

HOP_BY_HOP = frozenset(
    [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    ]
)
_FORWARDING = re.compile(rb"x[-_]forwarded[-_].*|forwarded|x[-_]real[-_]ip")
_NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"trailer", b"content-encoding", b"content-type"}

_NEVER_NAMED = {b"content-length", b"host"}
"""What ``Connection`` cannot take out: where a message ends and whom it is for is not up to its sender."""
_TOKEN = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")

_HOPS = re.compile(rb"0{0,9}[1-9][0-9]{0,8}")

PSEUDONYM = b"rpi-clusterhat"
"""What this gateway calls itself in ``Via``."""


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """The members of a list such as ``Connection``'s, in lower case."""
    return [token for value in values for part in value.split(b",") if (token := part.strip().lower())]


def connection_options(fields: Iterable[Field]) -> list[bytes]:
    return tokens([value for name, _, value in fields if name == b"connection"])


def end_to_end(fields: Sequence[Field], first: Mapping[bytes, bytes]) -> list[Field]:
    """Leaves out the fields that are meant for the next hop only, and those that ``Connection`` names.

    Args:
        fields: All fields.
        first: The first value of each field.
    """
    gone = HOP_BY_HOP
    if b"connection" in first:
        gone = gone.union(connection_options(fields)) - _NEVER_NAMED
    return [field for field in fields if field[0] not in gone]


def trailer_fields(
    trailers: Iterable[tuple[bytes, bytes]], fields: Sequence[Field]
) -> list[tuple[bytes, bytes]]:
    """Leaves out trailers that are not allowed, and those that ``Connection`` names before the body."""
    gone = _NOT_IN_TRAILERS.union(connection_options(fields))
    return [
        (name, value)
        for name, value in trailers
        if (low := name.lower()) not in gone and not _is_forwarding(low)
    ]


def _is_forwarding(name: bytes) -> bool:
    """Returns whether this is a field that `Forwarding` writes.

    A node that knows fields as variables cannot tell ``_`` from ``-``.
    """
    return name.startswith((b"x", b"f")) and _FORWARDING.fullmatch(name) is not None


def fewer_hops(fields: Sequence[Field]) -> list[Field]:
    """With ``Max-Forwards``, where that is a number above 0, less by one (RFC 9110, section 7.6.2)."""
    return [
        (name, raw, b"%d" % (int(value) - 1) if name == b"max-forwards" and _HOPS.fullmatch(value) else value)
        for name, raw, value in fields
    ]


def is_upgrade(fields: Sequence[Field]) -> bool:
    """Returns whether the client asks for another protocol on this connection.

    HTTP/2 does not count (RFC 9113 has no upgrade any more): its requests would bypass all checks here.
    """
    wanted = tokens([value for name, _, value in fields if name == b"upgrade"])
    return bool(wanted) and b"h2c" not in wanted and b"upgrade" in connection_options(fields)


class Forwarding:
    """What a node is told of the client on one connection.

    peer: the client's address. trusted: whether what it says of the clients before it is passed on.
    """

    __slots__ = ("_element", "_peer", "_proto", "_trusted")

    def __init__(self, peer: str, *, secure: bool, trusted: bool) -> None:
        address = peer.encode("ascii", "replace")
        proto = b"https" if secure else b"http"
        self._trusted = trusted
        self._peer = (b"x-forwarded-for", b"X-Forwarded-For", address)
        self._proto = (b"x-forwarded-proto", b"X-Forwarded-Proto", proto)
        node = b'"[%s]"' % address if b":" in address else address
        self._element = b"for=%s;proto=%s;host=" % (node, proto)

    def add(self, fields: list[Field], host: bytes, version: bytes) -> list[Field]:
        """The fields with ``Via``, ``Forwarded`` and ``X-Forwarded-*`` as the node is to get them."""
        element = self._element + (host if _TOKEN.fullmatch(host) else b'"%s"' % host)
        mine = [
            self._peer,
            self._proto,
            (b"x-forwarded-host", b"X-Forwarded-Host", host),
            (b"forwarded", b"Forwarded", element),
        ]
        kept = [field for field in fields if not _is_forwarding(field[0])]
        if self._trusted and len(kept) < len(fields):
            mine = _joined([field for field in fields if _is_forwarding(field[0])], mine)
        kept += mine
        kept.append((b"via", b"Via", version + b" " + PSEUDONYM))
        return kept


def _joined(said: Sequence[Field], mine: Sequence[Field]) -> list[Field]:
    """What a trusted proxy said, with our part at the end of the lists; where it said nothing, ours."""
    values: dict[bytes, list[bytes]] = {}
    names = {name: raw for name, raw, _ in (*said, *mine)}
    for name, _, value in said:
        values.setdefault(name, []).append(value)
    for name, _, value in mine:
        if name in (b"x-forwarded-for", b"forwarded") or name not in values:
            values.setdefault(name, []).append(value)
    return [(name, names[name], b", ".join(several)) for name, several in values.items()]


def is_within(peer: str, networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether an address belongs to one of these networks."""
    if not networks:
        return False
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
