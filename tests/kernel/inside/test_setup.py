"""The command ``setup`` with a kernel's own GPIO chips and I2C bus, and with udev."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from functools import partial
from grp import getgrgid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rpi_clusterhat.cli import main
from rpi_clusterhat.setup.machine import Machine
from tests.kernel.inside.banks import SysfsOnGpioSim
from tests.kernel.inside.bench import Bus, until, write

if TYPE_CHECKING:
    from collections.abc import Generator

COMMAND = str(Path(sys.executable).with_name("rpi-clusterhat"))
UDEVD = ("/lib/systemd/systemd-udevd", "/usr/lib/systemd/systemd-udevd")
OTHERS_RULES = "/usr/lib/udev/rules.d/60-i2c-tools.rules"
LOCKS = "/run/rpi-clusterhat"
FILES = ("/dev/gpiochip0", "/dev/i2c-1", "/sys/class/gpio/export", "/sys/class/gpio/unexport")


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Fresh:
    """This machine as nobody has set it up: with a GPIO chip and an I2C bus that are root's alone."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.bank = SysfsOnGpioSim()
        self.bus = Bus()
        self.bus.reset()
        self.expander = self.bus.first
        self._capsys = capsys

    def setup(self, *argv: str) -> Result:
        code = main(["setup", *argv])
        out, err = self._capsys.readouterr()
        return Result(code, out, err)

    def as_user(self, user: str, argv: str) -> Result:
        become = ("setpriv", "--reuid", user, "--regid", user, "--init-groups")
        done = subprocess.run(
            [*become, COMMAND, *argv.split()], capture_output=True, text=True, check=False, timeout=60
        )
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Generator[Fresh]:
    """With an ``/etc`` that can be written, no lock folder, and a udev that knows no such devices."""
    # The kernel runs on the files of whatever machine tests run on, a container's for one.
    monkeypatch.setattr(Machine, "is_container", False)
    found = Fresh(capsys)
    found.bank.reset()
    _close(FILES)
    _writable_etc()
    shutil.move(LOCKS, "/run/aside")
    try:
        with subprocess.Popen([next(filter(os.path.exists, UDEVD))]) as udevd:
            until(lambda: os.path.exists("/run/udev/control"), "udev is there")
            yield found
            udevd.terminate()
    finally:
        shutil.rmtree(LOCKS, ignore_errors=True)
        shutil.move("/run/aside", LOCKS)
        found.bank.remove()
        _unmount()


def _close(paths: tuple[str, ...]) -> None:
    for path in paths:
        os.chown(path, 0, 0)
        os.chmod(path, 0o200 if path.startswith("/sys") else 0o600)


def _writable_etc() -> None:
    """Without the groups that other tests use, and without a rule for I2C buses that may be here."""
    shutil.copytree("/etc", "/mnt/etc", symlinks=True)
    shutil.rmtree("/mnt/etc/udev/rules.d", ignore_errors=True)
    os.makedirs("/mnt/etc/udev/rules.d")
    os.symlink(os.devnull, f"/mnt/etc/udev/rules.d/{os.path.basename(OTHERS_RULES)}")
    for name in ("group", "gshadow"):
        with open(f"/mnt/etc/{name}") as file:
            kept = [line for line in file if line.partition(":")[0] not in ("gpio", "i2c")]
        with open(f"/mnt/etc/{name}", "w") as file:
            file.writelines(kept)
    subprocess.run(["mount", "--bind", "/mnt/etc", "/etc"], check=True)


def _unmount() -> None:
    subprocess.run(["umount", "--lazy", "/etc"], check=True)
    shutil.rmtree("/mnt/etc")
    shutil.rmtree("/run/udev")


def _access(path: str) -> tuple[str, int]:
    found = os.stat(path)
    return getgrgid(found.st_gid).gr_name, stat.S_IMODE(found.st_mode)


def _is_open(path: str) -> bool:
    return _access(path) == ("gpio", 0o664)


def test_who_is_put_into_the_groups_can_switch_with_every_backend(fresh: Fresh) -> None:
    for argv in ("--board 2.3", "--board 1.3 --backend sysfs"):
        assert fresh.as_user("alice", f"{argv} on p2").code == 1

    code, out, err = fresh.setup("--user", "alice", "--yes")
    assert (code, err) == (0, ""), out
    done = [line.removeprefix("done: ") for line in out.splitlines() if line.startswith("done: ")]
    assert [what for what in done if "udev" in what] == [
        "write udev rules for the GPIO chips",
        "write udev rules for the I2C buses",
        "write udev rules for the GPIO files",
    ]
    assert [_access(path) for path in FILES] == [
        *(("gpio", 0o660), ("i2c", 0o660)),
        *(("gpio", 0o220), ("gpio", 0o220)),
    ]
    assert _access(LOCKS) == ("gpio", 0o2770)

    assert fresh.as_user("alice", "--board 2.3 on p2").code == 0
    assert fresh.expander.pins & 0x0F == 0b0010
    for line in fresh.bank.lines:  # the command waits 3 s for udev, which is short on a busy machine
        number = fresh.bank.simulated.base + line.offset
        write("/sys/class/gpio/export", number)
        given = f"/sys/class/gpio/gpio{number}/active_low"  # the last one
        until(partial(_is_open, given), "udev has given the line away", 60)
    assert fresh.as_user("alice", "--board 1.3 --backend sysfs on p3") == (0, "p3 on\n", "")
    assert fresh.bank.outside()[19]
    assert fresh.as_user("alice", "--board 1.3 --backend sysfs off p3") == (0, "p3 off\n", "")
    for argv in ("--board 2.3", "--board 1.3 --backend sysfs"):
        code, _, err = fresh.as_user("mallory", f"{argv} on p1")
        assert code == 1
        assert "join the group" in err

    code, out, err = fresh.setup("--user", "alice", "--yes")
    assert (code, out.splitlines()[0], err) == (0, "nothing is left to do", "")


def test_without_the_folder_only_on_is_refused(fresh: Fresh) -> None:
    """As in a container that was not given the controller's folder."""
    status = fresh.as_user("root", "--board 2.3 status")
    assert (status.code, status.err) == (0, "")
    refused = fresh.as_user("root", "--board 2.3 on p1")
    assert (refused.code, refused.out) == (1, "")
    assert (
        f"{LOCKS}, the folder in which programs that switch nodes share their locks, does not exist"
        in refused.err
    )
    assert COMMAND in refused.err
    assert fresh.bus.writes() == []
    off = fresh.as_user("root", "--board 2.3 off all")
    assert off.code == 0
    assert "the power is cut without a shared lock" in off.err


def test_a_chip_that_comes_later_is_given_to_the_group_too(fresh: Fresh) -> None:
    fresh.bank.remove()
    assert fresh.setup("--user", "alice", "--yes", "--board", "1.3").code == 0
    fresh.bank.reset()
    _close(FILES[:1])
    subprocess.run(["udevadm", "trigger", "--action=add", "--settle", "/dev/gpiochip0"], check=True)
    assert _access("/dev/gpiochip0") == ("gpio", 0o660)
