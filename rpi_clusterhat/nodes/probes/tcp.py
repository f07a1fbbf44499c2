"""A probe that connects to a TCP port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import Readable

from .dial import Dialer
from .timed import DownError, TimedProbe

if TYPE_CHECKING:
    import socket

    from rpi_clusterhat.waiting import Steps


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

    __slots__ = ("_dialer", "host", "open_for", "port")

    def __init__(self, host: str, port: int, *, timeout: float = 0.3, open_for: float = 0.05) -> None:
        super().__init__(timeout)
        self.open_for = validate.seconds("open_for", open_for)
        self._dialer = Dialer(host, port)
        self.host, self.port = self._dialer.host, self._dialer.port

    @property
    def target(self) -> str:
        """Host and port, as the probe's reasons name them."""
        return self._dialer.target

    def _answer(self, deadline: float) -> Steps[str]:
        with (yield from self._connect(deadline)) as connection:
            return (yield from self._talk(connection, deadline))

    def _talk(self, connection: socket.socket, deadline: float) -> Steps[str]:
        watched = min(self.open_for, deadline - SYSTEM.now())
        if watched > 0 and (yield Readable(connection.fileno(), watched)) and not connection.recv(1):
            raise DownError(f"{self.target} took the connection and closed it")
        return f"connected to {self.target}"

    def _connect(self, deadline: float) -> Steps[socket.socket]:
        return self._dialer.connect(deadline)
