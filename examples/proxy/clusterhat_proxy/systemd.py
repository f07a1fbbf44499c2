"""What systemd and the proxy tell each other: readiness, the watchdog, and sockets that are already open.

The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3): a datagram of lines
``NAME=value`` to the socket that ``NOTIFY_SOCKET`` names, and file descriptors from 3 on. Without systemd's
variables nothing happens.
"""

from __future__ import annotations

import errno
import os
import socket
import time

__all__ = [
    "alive",
    "listen_sockets",
    "notify",
    "ready",
    "reloading",
    "status",
    "stopping",
    "watchdog_interval",
]

_FIRST_FD = 3
_SEND_MOST = 1.0
"""Seconds that a manager which does not read may hold us up."""


def notify(text: str) -> None:
    """Sends lines to the service manager. Does nothing where there is none or it does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):  # other families are not for processes on this machine
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SEND_MOST)
            sender.sendto(text.encode("utf-8", "replace"), address)
    except OSError:
        pass  # it is told for its own good: the proxy serves without


def ready() -> None:
    """Serving; also at the end of a reload."""
    notify("READY=1")


def reloading() -> None:
    """A reload begins; `ready` ends it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def stopping() -> None:
    """The end has begun."""
    notify("STOPPING=1")


def status(text: str) -> None:
    """One line for ``systemctl status``."""
    notify(f"STATUS={' '.join(text.split())}")


def alive() -> None:
    """To be told each `watchdog_interval`."""
    notify("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Returns the seconds between two reports of `alive`, or None if the unit has no watchdog.

    They are half of what the unit allows.
    """
    pid = os.environ.get("WATCHDOG_PID")
    microseconds = _count(os.environ.get("WATCHDOG_USEC"))
    if not microseconds or (pid is not None and pid != str(os.getpid())):
        return None
    return microseconds / 2e6


def listen_sockets() -> dict[str, list[socket.socket]]:
    """The listening sockets that systemd opened, by name: ``admin``, and ``proxy`` for all others.

    They are ours from now on, to be closed by us; a second call finds none, and neither does a child process.
    Raises `OSError` where one is no listening stream socket, as with ``Accept=yes``.
    """
    pid, count, names = (os.environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):
        return {}
    descriptors = range(_FIRST_FD, _FIRST_FD + _count(count))
    name_of = dict(zip(descriptors, names.split(":"), strict=False))
    found: dict[str, list[socket.socket]] = {}
    try:
        for fd in descriptors:
            name = "admin" if name_of.get(fd) == "admin" else "proxy"
            found.setdefault(name, []).append(_adopted(fd))
    except OSError:
        for sockets in found.values():
            for one in sockets:
                one.close()
        raise
    return found


def _adopted(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    adopted = socket.socket(fileno=fd)
    if adopted.type == socket.SOCK_STREAM and adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return adopted
    adopted.close()
    raise OSError(errno.ENOTSOCK, f"file descriptor {fd} from systemd is no listening stream socket")


def _count(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0
