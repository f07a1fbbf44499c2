"""The first process inside the lab's kernel: mounts what is needed, runs the command, hands out its result.

`booting` starts it with the folder of the exchange in the environment.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXCHANGE = "/mnt/exchange"
READ_ONLY, BIND = 0x1, 0x1000
POWER_OFF = 0x4321FEDC
SET_INTERFACE_FLAGS, INTERFACE_UP = 0x8914, 0x1
USERS = {"alice": 2001, "bob": 2002, "mallory": 2003}
"""Ordinary users. The first two are in the groups that may use the devices."""
GROUPS = {"gpio": 2010, "i2c": 2011}
LOCKS = "/run/rpi-clusterhat"
"""As the set-up of a controller makes it at each start."""

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def mount_all(exchange: str) -> None:
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    mount("dev", "/dev", "devtmpfs")
    mount("run", "/run", "tmpfs", options="mode=755")
    mount("mnt", "/mnt", "tmpfs", options="mode=755")
    os.mkdir("/mnt/tmp")
    os.chmod("/mnt/tmp", 0o1777)
    os.mkdir(LOCKS)
    os.chown(LOCKS, 0, GROUPS["gpio"])
    os.chmod(LOCKS, 0o2770)
    os.mkdir(EXCHANGE)
    mount("exchange", EXCHANGE, "hostfs", options=exchange)
    mount("config", "/sys/kernel/config", "configfs")
    mount("debug", "/sys/kernel/debug", "debugfs")
    mount("trace", "/sys/kernel/tracing", "tracefs")


def bring_up_loopback() -> None:
    request = struct.pack("16sH14x", b"lo", INTERFACE_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SET_INTERFACE_FLAGS, request)


def add_users() -> None:
    _extend(
        "/etc/passwd", (f"{name}:x:{number}:{number}::/mnt/tmp:/bin/sh" for name, number in USERS.items())
    )
    own = ((name, number, "") for name, number in USERS.items())
    shared = ((name, number, "alice,bob") for name, number in GROUPS.items())
    _extend("/etc/group", (f"{name}:x:{number}:{who}" for name, number, who in (*own, *shared)))


def _extend(path: str, lines: Iterable[str]) -> None:
    """Puts lines before those that are there, so that they count where a name is there already."""
    with open(path) as file:
        text = "".join(f"{line}\n" for line in lines) + file.read()
    longer = os.path.join("/mnt", os.path.basename(path))
    with open(longer, "w") as file:
        file.write(text)
    os.chmod(longer, 0o644)
    mount(longer, path, flags=BIND)


def open_to_all(folders: list[str]) -> None:
    """Lets ordinary users reach folders that lie in a private one, a Python in root's home for one."""
    hidden = {folder: private for folder in folders if (private := _private(folder))}
    aside = {folder: f"/mnt/aside{number}" for number, folder in enumerate(hidden)}
    for folder, path in aside.items():
        os.mkdir(path)
        mount(folder, path, flags=BIND)
    for private in set(hidden.values()):
        mount("cover", private, "tmpfs", options="mode=755")
    for folder, path in aside.items():
        os.makedirs(folder, exist_ok=True)
        mount(path, folder, flags=BIND)


def _private(folder: str) -> str | None:
    """The outermost folder around this one that others may not search."""
    private = None
    while folder != "/":
        folder = os.path.dirname(folder)
        if not os.stat(folder).st_mode & 0o001:
            private = folder
    return private


def main() -> None:
    mount_all(os.environ["LAB_EXCHANGE"])
    bring_up_loopback()
    with open(os.path.join(EXCHANGE, "job.json")) as file:
        job = json.load(file)
    add_users()
    open_to_all(job["folders"])
    with open(os.path.join(EXCHANGE, "output"), "wb") as output:
        done = subprocess.run(
            job["command"],
            cwd=job["cwd"],
            env=job["env"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    with open(os.path.join(EXCHANGE, "code"), "w") as file:
        file.write(str(done.returncode))


if __name__ == "__main__":
    try:
        main()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.sync()
        _libc.reboot(POWER_OFF)
