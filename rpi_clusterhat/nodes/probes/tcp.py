"""A probe that connects to a TCP port."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Readable, Writable

from .resolve import Lookup, addresses
from .timed import DownError, TimedProbe, happens, wait_for

if TYPE_CHECKING:
    import socket

    from rpi_clusterhat.waiting import Steps

    from .resolve import Address


class TcpProbe(TimedProbe):
    """The node is up when one of its TCP ports takes a connection and keeps it open.

    A service that is not ready yet may take connections and close them at once.

    The time-out holds for the lookup of a name too. A resolver that takes longer goes on in a thread of its
    own, one at most for each probe, and what it finds counts for the next time of asking.

    Args:
        host: An address, also of IPv6, or a name, which the system's resolver looks up each time.
        port: From 1 to 65535.
        timeout: How many seconds it may take in all.
        open_for: For how many seconds of these the connection must stay open, unless the node sends something
            before; 0 not to look.

    Raises:
        SettingError: An argument is invalid.
    """

    __slots__ = ("_lookup", "host", "open_for", "port")

    def __init__(self, host: str, port: int, *, timeout: float = 0.3, open_for: float = 0.05) -> None:
        super().__init__(timeout)
        self.open_for = validate.seconds("open_for", open_for)
        self.host = _host(host)
        self.port = _port(port)
        self._lookup: Lookup | None = None

    @property
    def target(self) -> str:
        """Host and port, as the probe's reasons name them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _answer(self, deadline: float) -> Steps[str]:
        with (yield from self._connect(deadline)) as connection:
            return (yield from self._talk(connection, deadline))

    def _talk(self, connection: socket.socket, deadline: float) -> Steps[str]:
        watched = min(self.open_for, deadline - SYSTEM.now())
        if watched > 0 and (yield Readable(connection.fileno(), watched)) and not connection.recv(1):
            raise DownError(f"{self.target} took the connection and closed it")
        return f"connected to {self.target}"

    def _connect(self, deadline: float) -> Steps[socket.socket]:
        """Connects to the first of the host's addresses that takes it; each gets its share of the time."""
        found = yield from self._addresses(deadline)
        error: OSError = OSError(errno.EADDRNOTAVAIL, "no address")
        for i, address in enumerate(found):
            now = SYSTEM.now()
            share = now + (deadline - now) / (len(found) - i)
            try:
                return (yield from _connected(address, share))
            except OSError as caught:
                error = caught
        raise error

    def _addresses(self, deadline: float) -> Steps[list[Address]]:
        import socket

        try:
            return addresses(self.host, self.port, socket.AI_NUMERICHOST)
        except OSError:
            pass  # a name
        lookup = self._lookup
        if lookup is None or lookup.is_stale:
            lookup = self._lookup = Lookup(self.host, self.port)
        if not (yield from happens(lambda: lookup.finished is not None, deadline)):
            raise DownError(f"{self.host} is not resolved yet")
        if self._lookup is lookup:  # not one that another caller has started since
            self._lookup = None
        if lookup.error is not None:
            raise DownError(f"{self.host} cannot be resolved: {lookup.error}")
        return lookup.addresses


def _connected(address: Address, deadline: float) -> Steps[socket.socket]:
    import socket

    family, kind, protocol, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        error = connection.connect_ex(where)
        if error == errno.EINPROGRESS:
            yield from wait_for(Writable, connection, deadline)
            error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error and _is_to_itself(connection):
            # Nobody listens, but on loopback the system happened to draw this very port for our own end.
            error = errno.ECONNREFUSED
        if error:
            raise OSError(error, os.strerror(error))
    except BaseException:
        connection.close()
        raise
    return connection


def _is_to_itself(connection: socket.socket) -> bool:
    try:
        return bool(connection.getsockname() == connection.getpeername())
    except OSError as error:  # it was reset in the moment that it was there
        raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)) from error


def _host(host: Any) -> str:
    if isinstance(host, str) and host.isprintable() and not set(host) & set(" /[]@"):
        try:
            if host.encode("idna") and (":" not in host or _is_ipv6(host)):
                return host
        except UnicodeError:
            pass
    raise validate.invalid("host", host, "a host's name or address, without brackets, port or scheme")


def _is_ipv6(host: str) -> bool:
    import socket

    try:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return False
    return True


def _port(port: int) -> int:
    if type(port) is not int or not 1 <= port <= 65535:
        raise validate.invalid("port", port, "a number from 1 to 65535")
    return port
