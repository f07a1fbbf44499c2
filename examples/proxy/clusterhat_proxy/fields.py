"""Header fields on their way through a gateway (RFC 9110, section 7.6; RFC 7239).

A field is a tuple of its name in lower case, its name as it came, and its value.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Field", "Forwarding", "end_to_end", "is_upgrade", "tokens", "trailer_fields"]

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
_FORWARDED = frozenset([b"forwarded", b"x-real-ip"])
_NOT_IN_TRAILERS = HOP_BY_HOP | {b"content-length", b"host", b"trailer", b"content-encoding", b"content-type"}

PSEUDONYM = b"rpi-clusterhat"
"""What this gateway calls itself in ``Via``."""


def tokens(values: Iterable[bytes]) -> list[bytes]:
    """The members of a list such as ``Connection``'s, in lower case."""
    return [token for value in values for part in value.split(b",") if (token := part.strip().lower())]


def end_to_end(fields: Sequence[Field]) -> list[Field]:
    """Without those that are meant for the next hop only, and without those that ``Connection`` names."""
    gone = HOP_BY_HOP
    named = tokens([value for name, _, value in fields if name == b"connection"])
    if named and not gone.issuperset(named):
        gone = gone.union(named)
    return [field for field in fields if field[0] not in gone]


def trailer_fields(trailers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Trailers without what must not stand in them."""
    return [(name, value) for name, value in trailers if name.lower() not in _NOT_IN_TRAILERS]


def is_upgrade(fields: Sequence[Field]) -> bool:
    """Whether another protocol is asked for on this connection."""
    return any(name == b"upgrade" for name, _, _ in fields) and b"upgrade" in tokens(
        [value for name, _, value in fields if name == b"connection"]
    )


class Forwarding:
    """What a node is told of the client on one connection.

    peer: the client's address. trusted: whether what it says of the clients before it is passed on.
    """

    __slots__ = ("_elements", "_peer", "_proto", "_trusted")

    def __init__(self, peer: str, *, secure: bool, trusted: bool) -> None:
        self._peer = peer.encode("ascii", "replace")
        self._proto = b"https" if secure else b"http"
        self._trusted = trusted
        node = b'"[%s]"' % self._peer if b":" in self._peer else self._peer
        self._elements = b"for=%s;proto=%s;host=" % (node, self._proto)

    def add(self, fields: list[Field], host: bytes, version: bytes) -> list[Field]:
        """The fields with ``Via``, ``Forwarded`` and ``X-Forwarded-*`` as the node is to get them."""
        element = self._elements + (b'"%s"' % host if _needs_quotes(host) else host)
        mine = {
            b"x-forwarded-for": (b"X-Forwarded-For", self._peer),
            b"x-forwarded-proto": (b"X-Forwarded-Proto", self._proto),
            b"x-forwarded-host": (b"X-Forwarded-Host", host),
            b"forwarded": (b"Forwarded", element),
        }
        said: dict[bytes, list[bytes]] = {}
        kept: list[Field] = []
        for field in fields:
            name = field[0]
            if name in _FORWARDED or name.startswith(b"x-forwarded-"):
                said.setdefault(name, []).append(field[2])
            else:
                kept.append(field)
        if said and self._trusted:
            for name, values in said.items():
                if name in (b"x-forwarded-for", b"forwarded"):
                    raw, value = mine[name]
                    mine[name] = raw, b", ".join((*values, value))
                else:
                    mine[name] = name.title(), values[0]
        kept += [(name, raw, value) for name, (raw, value) in mine.items()]
        kept.append((b"via", b"Via", version + b" " + PSEUDONYM))
        return kept


def _needs_quotes(host: bytes) -> bool:
    return b":" in host or b"[" in host or not host


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
