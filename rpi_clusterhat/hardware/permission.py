"""What a user does about a file or device that may not be used: a different thing for each cause."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat._setup_command import setup_command

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Person", "container_remedy", "permission_remedy"]


class Person(NamedTuple):
    """Who this process runs as."""

    uid: int
    name: str | None
    """The user's name; None where the user database does not have the number, as in many containers."""
    groups: Collection[int]
    """The groups that the process has: those of the database when its session began."""
    database: Collection[int]
    """The groups that the user database gives the user now."""


class _File(NamedTuple):
    """What is refused: the file, or the folder that keeps it out of reach."""

    path: str
    uid: int
    gid: int
    mode: int
    needed: int
    """Of read 4, write 2 and execute 1."""

    def grants(self, shift: int) -> bool:
        """Whether the owner (6), the group (3) or all others (0) may do what is needed."""
        return (self.mode >> shift) & self.needed == self.needed


def permission_remedy(path: str, group: str, needed: int = os.R_OK | os.W_OK) -> str:
    """Says what to do about a refused permission, as the end of a message that says what was refused.

    Args:
        path: The file or device. Where it does not exist, its folder did not let this user make it.
        group: The name of the group that ought to have it.
        needed: What was to be done with it: `os.R_OK`, `os.W_OK` or both.
    """
    person, file = _person(), _refused(os.path.abspath(path), needed)
    own = _group(file.gid)
    what = "it" if file.path == os.path.abspath(path) else f"the folder {file.path}"
    facts = f"{what} has the owner {_user(file.uid)}, the group {own} and the mode {file.mode:04o}"
    if person.uid == 0:
        return f"this process is root already, so {_OTHERWISE}"
    if file.uid == person.uid:
        return f"{facts}, so {_OTHERWISE}" if file.grants(6) else f"{facts}: 'chmod u+rwX {file.path}'"
    if file.gid in person.groups and file.grants(3):
        return f"{facts}, and this process is in that group, so {_OTHERWISE}"
    if file.gid not in person.groups and file.grants(0):
        return f"{facts}, so {_OTHERWISE}"
    if file.gid == 0 or not file.grants(3):
        return f"{facts}: '{setup_command()}' lets the group {group} use it"
    if file.gid in person.database:
        return (
            f"{person.name} is in the group {own}, but was not when this session began: "
            f"log in again, or run 'newgrp {own}'"
        )
    if person.name is None:
        return f"give this container the group {own} ('docker run --group-add {file.gid}')"
    return f"join the group {own} ('sudo usermod -aG {own} {person.name}') and log in again"


_OTHERWISE = (
    "something else forbids it: a container needs the device ('docker run --device'), "
    "a systemd service DeviceAllow="
)


CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
"""Files of which a container has one."""


def container_remedy(path: str) -> str:
    """Says how a container gets a device that is not there; empty where this process is in none."""
    if any(map(os.path.exists, CONTAINER_MARKS)):
        return f"give this container the device ('docker run --device {path}')"
    return ""


def _person() -> Person:
    import pwd

    uid = os.geteuid()
    groups = {os.getegid(), *os.getgroups()}
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(uid, None, groups, ())
    return Person(uid, entry.pw_name, groups, os.getgrouplist(entry.pw_name, entry.pw_gid))


def _refused(path: str, needed: int) -> _File:
    while True:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            needed = os.W_OK | os.X_OK
        except OSError:
            needed = os.X_OK
        else:
            return _File(path, found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode), needed)
        path = os.path.dirname(path)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
