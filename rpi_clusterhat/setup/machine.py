"""Looks at a machine. It changes nothing."""

from __future__ import annotations

import glob
import grp
import os
import pwd
from stat import S_IMODE, S_ISDIR
from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat.hardware.boards import DEVICE_TREE
from rpi_clusterhat.hardware.permission import CONTAINER_MARKS
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

from .drop_ins import MODULES, RULES, TMPFILES, read_drop_ins
from .facts import Bus, Device, Facts, Place
from .rules import groups_named
from .text import read

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

__all__ = ["SYSTEM_FOLDERS", "Accounts", "Machine", "SystemAccounts"]

SYSTEM_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs of the system are. Nobody but root can put one there."""

_TOOLS = (*("groupadd", "addgroup", "usermod", "systemd-tmpfiles", "udevadm", "modprobe", "dtparam"),)
_CONFIGS = ("/boot/firmware/config.txt", "/boot/config.txt")
_OUR_GROUPS = ("gpio", "i2c")
_READ_WRITE = 0o060


class Accounts(Protocol):
    """The user database."""

    def group(self, name: str) -> int | None:
        """Returns the number of a group; None where there is none of this name."""
        ...

    def group_name(self, number: int) -> str:
        """Returns the name of a group, or its number where it has none."""
        ...

    def groups_of(self, user: str) -> Collection[str] | None:
        """Returns the names of the groups that a user is in; None where there is no such user."""
        ...


class SystemAccounts:
    """The user database of this machine."""

    def group(self, name: str) -> int | None:
        try:
            return grp.getgrnam(name).gr_gid
        except KeyError:
            return None

    def group_name(self, number: int) -> str:
        try:
            return grp.getgrgid(number).gr_name
        except KeyError:
            return str(number)

    def groups_of(self, user: str) -> Collection[str] | None:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            return None
        return {self.group_name(number) for number in os.getgrouplist(entry.pw_name, entry.pw_gid)}


class Machine:
    """A machine that may be set up.

    Args:
        root: The folder that holds its files.
        accounts: Its user database; that of this machine unless given.
        owner: The number of the user who owns its system files.
        stat: Says what is at a path, as `os.stat` does.
    """

    def __init__(
        self,
        root: str = "/",
        accounts: Accounts | None = None,
        owner: int = 0,
        *,
        stat: Callable[..., os.stat_result] = os.stat,
    ) -> None:
        self.root = root.rstrip("/")
        self.accounts = accounts or SystemAccounts()
        self.owner = owner
        self._stat = stat

    @property
    def device_tree(self) -> str:
        """The folder in which the kernel shows a HAT's description."""
        return self.root + DEVICE_TREE

    @property
    def is_container(self) -> bool:
        """Whether this is a container, which shares what matters here with the machine it runs on."""
        return any(os.path.exists(self.root + mark) for mark in CONTAINER_MARKS)

    def look(self, users: Iterable[str], buses: Iterable[int]) -> Facts:
        """Looks at everything that a plan depends on.

        Args:
            users: Users who are to switch nodes. They exist.
            buses: The numbers of the I2C buses that are needed.
        """
        rules = {name: text for name, (_, text) in read_drop_ins(self.root, RULES, ".rules").items()}
        chips = sorted(glob.glob(f"{self.root}/dev/gpiochip*"))
        tools = self._tools()
        return Facts(
            tools=tools,
            systemd=self._exists("/run/systemd/system"),
            udevd="udevadm" in tools and self._exists("/run/udev/control"),
            groups=self._groups({*_OUR_GROUPS, *groups_named(rules)}),
            users={user: self.accounts.groups_of(user) or () for user in users},
            root=self.owner,
            buses=tuple(map(self._bus, buses)),
            gpio=tuple(device for path in chips if (device := self._device(path, _READ_WRITE))),
            sysfs=self._sysfs(),
            rules=rules,
            tmpfiles=read_drop_ins(self.root, TMPFILES, ".conf"),
            locks=self._place(DEFAULT_LOCK_DIR),
            loads_i2c=self._loads("i2c-dev"),
            has_i2c_devices=self._exists("/sys/class/i2c-dev"),
            pi="raspberrypi," in self._read("/proc/device-tree/compatible"),
            config=next(((path, self._read(path)) for path in _CONFIGS if self._exists(path)), None),
        )

    def _tools(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for name in _TOOLS:
            for folder in SYSTEM_FOLDERS:
                if name not in found and os.access(f"{self.root}{folder}/{name}", os.X_OK):
                    found[name] = f"{folder}/{name}"
        return found

    def _groups(self, names: Iterable[str]) -> Mapping[str, int]:
        numbers = {name: self.accounts.group(name) for name in names}
        return {name: number for name, number in numbers.items() if number is not None}

    def _bus(self, number: int) -> Bus:
        device = self._device(f"{self.root}/dev/i2c-{number}", _READ_WRITE)
        adapter = device is not None or self._exists(f"/sys/bus/i2c/devices/i2c-{number}")
        return Bus(number, adapter, device)

    def _sysfs(self) -> Device | None:
        if not glob.glob(f"{self.root}/sys/class/gpio/gpiochip*"):
            return None
        return self._device(f"{self.root}/sys/class/gpio/export", 0o020)

    def _device(self, path: str, needed: int) -> Device | None:
        try:
            found = self._stat(path)
        except OSError:
            return None
        may = found.st_gid != 0 and found.st_mode & needed == needed
        return Device(path.removeprefix(self.root), self.accounts.group_name(found.st_gid), may)

    def _place(self, path: str) -> Place:
        try:
            found = self._stat(self.root + path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return Place("nothing")
        if not S_ISDIR(found.st_mode):
            return Place("other")
        return Place("folder", found.st_uid, found.st_gid, S_IMODE(found.st_mode))

    def _loads(self, module: str) -> bool:
        """Whether a module is loaded at each start, or is part of the kernel."""
        texts = [text for _, text in read_drop_ins(self.root, MODULES, ".conf").values()]
        lines = {line.strip() for text in [*texts, self._read("/etc/modules")] for line in text.splitlines()}
        if {module, module.replace("-", "_")} & lines:
            return True
        built_in = self._read(f"/lib/modules/{os.uname().release}/modules.builtin")
        return f"/{module}.ko" in built_in

    def _exists(self, path: str) -> bool:
        return os.path.exists(self.root + path)

    def _read(self, path: str) -> str:
        return read(self.root + path)
