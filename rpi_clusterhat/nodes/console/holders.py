"""Which programs have a terminal open, as far as this user may know."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Holder", "all_named", "holder", "holders", "is_pseudo", "suspects"]

_PSEUDO = range(136, 144)
"""Major numbers of pseudo-terminals. Source: Linux, Documentation/admin-guide/devices.txt."""

_MASTER = os.makedev(5, 2)
"""What the other end of each pseudo-terminal has opened. Source: as above."""


class Holder(Frozen):
    """A program that has a terminal open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"

    @property
    def is_modem_manager(self) -> bool:
        """Whether it is the usual one, which takes serial devices for modems."""
        return self.name == "ModemManager"


def holders(found: os.stat_result, root: str = "/proc") -> list[Holder]:
    """Finds the programs, but for this process, that may read from a terminal.

    The program at the other end of a pseudo-terminal does not count: that one is the console. Programs of
    other users are seen by root only.

    Args:
        found: What the device's path or descriptor leads to.
        root: The folder in which the kernel lists processes.
    """
    return [
        Holder(pid, _name(root, pid))
        for pid in _pids(root)
        if pid != os.getpid() and _reads(root, pid, found)
    ]


def holder(pid: int) -> Holder:
    """Returns the program of a process."""
    return Holder(pid, _name("/proc", pid))


def suspects(root: str = "/proc") -> list[Holder]:
    """Finds a ModemManager, which opens every serial device that it meets, and is root's."""
    found = [Holder(pid, _comm(root, pid)) for pid in _pids(root)]
    return [each for each in found if each.is_modem_manager]


def all_named(found: Sequence[Holder]) -> str:
    """Names programs, some of them where there are many."""
    more = len(found) - 3
    names = [str(holder) for holder in found[:3]] + ([f"{more} more"] if more > 0 else [])
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def is_pseudo(found: os.stat_result) -> bool:
    """Whether it is a pseudo-terminal, not a serial device."""
    return stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) in _PSEUDO


def _reads(root: str, pid: int, found: os.stat_result) -> bool:
    """Whether a process has the device open to read, unless it is at the other end too."""
    reads = False
    for number, opened in _open_devices(root, pid):
        if opened.st_rdev == found.st_rdev:
            # There may be several file systems of pseudo-terminals, each with numbers of its own.
            if not is_pseudo(found) or opened.st_dev == found.st_dev:
                reads = (
                    reads or int(_noted(root, pid, number, "flags") or "0", 8) & os.O_ACCMODE != os.O_WRONLY
                )
        elif is_pseudo(found) and opened.st_rdev == _MASTER:
            minor = (os.major(found.st_rdev) - _PSEUDO.start) * 256 + os.minor(found.st_rdev)
            if _noted(root, pid, number, "tty-index") == str(minor):
                return False
    return reads


def _open_devices(root: str, pid: int) -> Iterator[tuple[str, os.stat_result]]:
    folder = os.path.join(root, str(pid), "fd")
    for number in _listed(folder):
        try:
            opened = os.stat(os.path.join(folder, number))
        except OSError:  # just closed, or of a file system that is gone
            continue
        if stat.S_ISCHR(opened.st_mode):
            yield number, opened


def _noted(root: str, pid: int, number: str, key: str) -> str:
    """What the kernel notes of an open file; empty where it does not."""
    for line in _text(os.path.join(root, str(pid), "fdinfo", number)).splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return value.strip()
    return ""


def _name(root: str, pid: int) -> str:
    name = _comm(root, pid)
    if name.startswith("python"):  # what it runs says more
        words = _text(os.path.join(root, str(pid), "cmdline")).split("\0")[1:]
        if words and words[0] and not words[0].startswith("-"):
            return _printable(os.path.basename(words[0]))
    return name or "a program"


def _comm(root: str, pid: int) -> str:
    return _printable(_text(os.path.join(root, str(pid), "comm")).rstrip("\n"))


def _printable(text: str) -> str:
    """A program may call itself anything."""
    return "".join(c if c.isprintable() else "?" for c in text[:40])


def _pids(root: str) -> list[int]:
    return sorted(int(name) for name in _listed(root) if name.isdecimal())


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # another user's
        return []


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
