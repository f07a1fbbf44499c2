"""Looks a host's name up without holding up whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM

if TYPE_CHECKING:
    from typing import Any

    Address = tuple[int, int, int, Any]  # family, type, protocol, and the address in the form of its family


class Lookup:
    """A name that is being looked up, in a thread of its own.

    The resolver takes seconds for a name that nobody answers to, cannot be interrupted, and would soon hold
    all worker threads of an event loop.
    """

    FRESH = 5.0
    """Seconds for which a result counts that came when nobody waited for it."""

    def __init__(self, host: str, port: int) -> None:
        import threading

        self.addresses: list[Address] = []
        self.error: str | None = None
        self.finished: float | None = None
        threading.Thread(target=self._run, args=(host, port), name=f"resolve {host}", daemon=True).start()

    @property
    def is_stale(self) -> bool:
        return self.finished is not None and SYSTEM.now() - self.finished > self.FRESH

    def _run(self, host: str, port: int) -> None:
        try:
            self.addresses = addresses(host, port)
        except OSError as error:
            text = error.strerror or str(error)
            self.error = text[:1].lower() + text[1:]
        finally:
            self.finished = SYSTEM.now()


def addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    """Asks the system's resolver, which may block; raises OSError where it finds nothing."""
    import socket

    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]
