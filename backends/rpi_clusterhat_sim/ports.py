"""A TCP port that is a node's own, whether anything listens there or not."""

from __future__ import annotations

import socket

__all__ = ["Port"]


class Port:
    """An address at which who connects is refused, until a socket of `bound` listens there."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """``port`` 0 is any that is free. Raises `OSError` where the address cannot be had."""
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Never listens: while it is bound, nobody else gets the port, and who connects is refused.
        self._reserved = self._bound((host, port), shares=False)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # from now on, with our own
        self.address: tuple[str, int] = self._reserved.getsockname()[:2]

    def bound(self) -> socket.socket:
        """Another socket that is bound to the address, and may listen. Raises `OSError`."""
        return self._bound(self.address, shares=True)

    def fileno(self) -> int:
        return self._reserved.fileno()

    def give_back(self) -> None:
        self._reserved.close()

    def _bound(self, address: tuple[str, int], *, shares: bool) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shares)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound
