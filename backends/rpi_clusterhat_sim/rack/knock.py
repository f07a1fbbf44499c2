"""Finds out whether ports of nodes are open without connecting to them, so that no node notices.

A SYN is sent for which there is no socket here. An open port answers with SYN and ACK, and the kernel resets
what it never asked for before a program of the node sees a connection. Source of the header: RFC 9293, 3.1.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

__all__ = ["Knocker"]

_TCP = struct.Struct("!HHIIBBHHH")
_IP = struct.Struct("!4s4sBBH")
_WORDS = 5 << 4
"""The length of a header without options, where TCP has it."""
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_WINDOW = 1024
_PORTS = range(20000, 30000)
"""From where to knock: below the ports that the kernel gives to connections."""

_ATTACH_FILTER = 26
_FILTER = (
    (0xB1, 0, 0, 0),  # x = length of the IP header
    (0x48, 0, 0, 2),  # a = TCP's destination port
    (0x35, 0, 2, _PORTS.start),  # below: drop
    (0x35, 1, 0, _PORTS.stop),  # above: drop
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)
"""Keeps the packets of connections out. Source: Documentation/networking/filter.rst of the kernel."""


class Knocker:
    """A raw socket in the rack's own network. May be used from one thread only."""

    def __init__(self, address: str) -> None:
        """Knocks from one of this machine's addresses. Raises `OSError`, as for a user who may not."""
        self._own = socket.inet_aton(address)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        """Is readable when there may be answers."""
        self.socket.setblocking(False)
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _FILTER))
        program = struct.pack("HP", len(_FILTER), ctypes.addressof(code))
        self.socket.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
        self._count = 0

    def close(self) -> None:
        self.socket.close()

    def knock(self, host: str, port: int) -> None:
        """Sends a SYN. That it cannot be sent now is as good as that nobody answers."""
        self._count += 1
        source = _PORTS[self._count % len(_PORTS)]
        with suppress(OSError):
            self.socket.sendto(self._segment(host, source, port), (host, 0))

    def _segment(self, host: str, source: int, port: int) -> bytes:
        unsummed = _TCP.pack(source, port, self._count, 0, _WORDS, _SYN, _WINDOW, 0, 0)
        pseudo = _IP.pack(self._own, socket.inet_aton(host), 0, socket.IPPROTO_TCP, len(unsummed))
        return _TCP.pack(source, port, self._count, 0, _WORDS, _SYN, _WINDOW, checksum(pseudo + unsummed), 0)

    def answers(self) -> list[tuple[str, int, bool]]:
        """Returns what has been answered since: host, port, and whether it is open."""
        found: list[tuple[str, int, bool]] = []
        while True:
            try:
                packet = self.socket.recv(4096)
            except OSError:
                return found
            if (answer := parse(packet)) is not None:
                found.append(answer)


def parse(packet: bytes) -> tuple[str, int, bool] | None:
    """What an IP packet says to a knock: host, port, and whether it is open. None for any other packet."""
    if not packet or packet[0] >> 4 != 4:
        return None
    start = (packet[0] & 0xF) * 4
    if len(packet) < start + _TCP.size:
        return None
    port, to, _, _, _, flags, *_ = _TCP.unpack_from(packet, start)
    if to not in _PORTS or not flags & _ACK or not flags & (_SYN | _RST):
        return None
    return socket.inet_ntoa(packet[12:16]), port, not flags & _RST


def checksum(data: bytes) -> int:
    """The sum of TCP's header. Source: RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
