"""A machine in a folder, whose programs do what the real ones do to it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from rpi_clusterhat.setup.machine import Machine
from rpi_clusterhat.setup.perform import perform
from rpi_clusterhat.setup.plan import make_plan
from rpi_clusterhat.setup.rules import group_of, opens_sysfs
from rpi_clusterhat.setup.steps import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from rpi_clusterhat.setup.steps import Plan

TOOLS = ("groupadd", "usermod", "systemd-tmpfiles", "udevadm", "modprobe", "dtparam")
LOCKS = "/run/rpi-clusterhat"
OWN = os.getegid() or 77000
"""A group that the user who runs the tests may give a file to: here it is called gpio."""


class World:
    """A Raspberry Pi on which nothing is set up. It is its own user database and runs its own programs.

    Its devices are files, and the group of each is noted here, since no user may give files to groups.
    """

    def __init__(self, root: Path, *, tools: Collection[str] = TOOLS, pi: bool = True) -> None:
        self.root = root
        self.users: dict[str, set[str]] = {"alice": {"alice"}, "bob": {"bob"}, "root": {"root"}}
        self.group_names: dict[str, int] = {"alice": 77001, "bob": 77002, "dialout": 77003}
        self.device_groups: dict[str, str] = {}
        self.udev_is_deaf = False
        self.ran: list[str] = []
        self.failing: dict[str, str] = {}
        """What to say instead of running, by the beginning of a command."""
        for folder in (
            "etc",
            "run/udev",
            "run/systemd/system",
            "usr/sbin",
            "usr/bin",
            "dev",
            "boot/firmware",
        ):
            self.folder(folder)
        self.file("run/udev/control")
        self.file("boot/firmware/config.txt", "# For more options see the manual\n#dtparam=i2c_arm=on\n")
        if pi:
            self.file("proc/device-tree/compatible", "raspberrypi,4-model-b\0brcm,bcm2711\0")
        for tool in tools:
            self.file(f"usr/sbin/{tool}").chmod(0o755)
        self.machine = Machine(str(root), self, os.geteuid(), stat=self.stat)

    def folder(self, path: str) -> Path:
        folder = self.root
        for part in path.split("/"):
            folder = folder / part
            if not folder.exists():
                folder.mkdir()
                folder.chmod(0o755)
        return folder

    def file(self, path: str, text: str = "") -> Path:
        above, _, name = path.rpartition("/")
        file = self.folder(above) / name
        file.write_text(text)
        return file

    def device(self, path: str, group: str = "root") -> None:
        self.file(path)
        self.device_groups[f"/{path}"] = group

    def hat(self, version: int) -> None:
        self.file("proc/device-tree/hat/product", "ZC4:ClusterHAT\0")
        self.file("proc/device-tree/hat/product_ver", f"0x{version:04x}\0")

    def stat(self, path: str, *, follow_symlinks: bool = True) -> os.stat_result:
        """Shows the groups of devices as they are noted."""
        found = os.stat(path, follow_symlinks=follow_symlinks)
        group = self.device_groups.get(path.removeprefix(str(self.root)))
        if group is None:
            return found
        own = 0 if group == "root" else self.group_names[group]
        mode = stat.S_IFREG | (0o600 if group == "root" else 0o660)
        return os.stat_result((mode, *found[1:5], own, *found[6:]))

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    # The user database ------------------------------------------------------------------------------------

    def group(self, name: str) -> int | None:
        return self.group_names.get(name)

    def group_name(self, number: int) -> str:
        return next((name for name, own in self.group_names.items() if own == number), str(number))

    def groups_of(self, user: str) -> Collection[str] | None:
        return self.users.get(user)

    # The programs -----------------------------------------------------------------------------------------

    def run(self, argv: Sequence[str]) -> None:
        command = " ".join([os.path.basename(argv[0]), *argv[1:]])
        assert os.access(f"{self.root}{argv[0]}", os.X_OK)
        self.ran.append(command)
        for beginning, text in self.failing.items():
            if command.startswith(beginning):
                raise SetupError(text)
        match command.split():
            case ["groupadd", "--system", name] | ["addgroup", "-S", name]:
                assert name not in self.group_names
                self.group_names[name] = OWN if name == "gpio" else 77100 + len(self.group_names)
            case ["usermod", "-aG", names, user]:
                self._join(user, names.split(","))
            case ["addgroup", user, name]:
                self._join(user, [name])
            case ["systemd-tmpfiles", "--create", path]:
                self._create(path)
            case ["udevadm", "trigger", "--action=change", subsystem]:
                self._trigger(subsystem.partition("=")[2])
            case ["dtparam", "i2c_arm=on"]:
                self.folder("sys/bus/i2c/devices/i2c-1")
            case ["modprobe", "i2c-dev"]:
                self.folder("sys/class/i2c-dev")
                if (self.root / "sys/bus/i2c/devices/i2c-1").exists():
                    self.device("dev/i2c-1", group_of(self._rules(), "i2c-dev", "i2c-1") or "root")
            case ["udevadm", "control" | "settle", _]:
                pass
            case _:
                raise AssertionError(f"no such command: {command}")

    def _join(self, user: str, names: Sequence[str]) -> None:
        assert all(name in self.group_names for name in names)
        self.users[user] |= set(names)

    def _create(self, path: str) -> None:
        line = self.read(path.lstrip("/")).splitlines()[-1]
        assert line.split() == ["d", LOCKS, line.split()[2], "root", "gpio", "-"]
        folder = self.folder(LOCKS.lstrip("/"))
        os.chown(folder, -1, self.group_names["gpio"])
        folder.chmod(int(line.split()[2], 8))

    def _trigger(self, subsystem: str) -> None:
        if self.udev_is_deaf:
            return
        rules = self._rules()
        for path in self.device_groups:
            name = os.path.basename(path)
            own = "i2c-dev" if name.startswith("i2c-") else "gpio"
            if subsystem == own and (group := group_of(rules, own, name)) in self.group_names:
                self.device_groups[path] = str(group)
        if subsystem == "gpio" and opens_sysfs(rules) and "/sys/class/gpio/export" in self.device_groups:
            self.device_groups["/sys/class/gpio/export"] = "gpio"

    def _rules(self) -> dict[str, str]:
        folder = self.root / "etc/udev/rules.d"
        return {path.name: path.read_text() for path in folder.glob("*.rules")}

    # What the command does --------------------------------------------------------------------------------

    def plan(self, *users: str, buses: Sequence[int] = (1,)) -> Plan:
        return make_plan(self.machine.look(users, buses))

    def set_up(self, *users: str, buses: Sequence[int] = (1,)) -> Plan:
        """Does all of a plan, and says what is left."""
        for step in self.plan(*users, buses=buses).steps:
            perform(step, self.machine, self)
        return self.plan(*users, buses=buses)
