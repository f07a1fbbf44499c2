"""Connects to a TCP port by steps."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Writable

from .resolve import Lookup, addresses
from .timed import DownError, happens, wait_for

if TYPE_CHECKING:
    import socket

    from rpi_clusterhat.waiting import Steps

    from .resolve import Address


class Dialer:
    """Connects to one port of one host, as often as it is asked to.

    A resolver that takes longer than there is time goes on in a thread of its own, one at most, and what it
    finds counts for the next time.

    Args:
        host: An address, also of IPv6, or a name, which the system's resolver looks up each time.
        port: From 1 to 65535.

    Raises:
        SettingError: An argument is invalid.
    """

    __slots__ = ("_lookup", "host", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = _host(host)
        self.port = _port(port)
        self._lookup: Lookup | None = None

    @property
    def target(self) -> str:
        """Host and port, as texts name them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def connect(self, deadline: float) -> Steps[socket.socket]:
        """Makes the steps that connect to the first of the host's addresses that takes it.

        Each address gets its share of the time.

        Raises:
            TimeoutError: The deadline came first.
            DownError: The name cannot be resolved, or is not resolved yet.
            OSError: No address took it.
        """
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
