"""The command ``setup``: it says what it will do, asks, does it, and says how far it came."""

from __future__ import annotations

import io
import os
import pwd
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.setup.machine import SystemAccounts
from tests.setup.worlds import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Command

SUDO = re.compile(r"^To do this: sudo (\S*/)?rpi-clusterhat setup(.*)$", re.MULTILINE)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The machine that the command meets, on which alice has called sudo."""
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    world = World(root)
    monkeypatch.setattr("rpi_clusterhat.cli.setup.this_machine", lambda: world.machine)
    monkeypatch.setattr("rpi_clusterhat.setup.perform.Runner", lambda: world)
    monkeypatch.setenv("SUDO_USER", "alice")
    return world


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def give(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return give


def nothing_done(world: World) -> bool:
    return not world.ran and not (world.root / "etc/tmpfiles.d").exists() and "gpio" not in world.group_names


def planned(out: str) -> str:
    """The steps, without the line that has the path of this command."""
    return out.partition("To do this:")[0]


def test_it_does_what_it_said_and_then_nothing_is_left(
    command: Command, world: World, answer: Callable[[str], None]
) -> None:
    answer("y\n")
    code, out, err = command("setup")
    assert (code, err) == (0, "")
    steps = re.findall(r"^\d+\. (.*?): ", out, re.MULTILINE)
    assert steps == re.findall(r"^done: (.*)$", out, re.MULTILINE)
    assert len(steps) == 8
    assert "note: alice has to log out and in again" in out
    commands = [line.strip() for line in out.splitlines() if line.startswith("     /")]
    assert [f"/usr/sbin/{ran}" for ran in world.ran] == commands
    again = command("setup")
    assert again == (0, "nothing is left to do\n", "")


@pytest.mark.parametrize("text", ["n\n", "\n", "yep\n", "no\n"])
def test_without_consent_nothing_is_done(
    command: Command, world: World, answer: Callable[[str], None], text: str
) -> None:
    answer(text)
    code, out, err = command("setup")
    assert (code, err) == (1, "rpi-clusterhat: nothing was done\n")
    assert out.endswith("Go ahead? [y/N]\n")
    assert nothing_done(world)


def test_where_nobody_can_answer_it_names_the_option(
    command: Command, world: World, answer: Callable[[str], None]
) -> None:
    answer("")
    code, _, err = command("setup")
    assert code == 1
    assert "give --yes" in err
    assert nothing_done(world)
    assert command("setup", "--yes").code == 0


def test_a_dry_run_says_it_all_and_does_nothing(command: Command, world: World) -> None:
    code, out, err = command("setup", "--dry-run", "--user", "alice", "--user", "bob", "--board", "2.3")
    assert (code, err) == (0, "")
    assert "write /etc/tmpfiles.d/rpi-clusterhat.conf" in out
    assert "put bob into the groups gpio and i2c" in out
    found = SUDO.search(out)
    assert found is not None
    assert found[2] == " --board 2.3 --user alice --user bob"
    assert nothing_done(world)


def test_without_root_it_says_how_to_become_root(
    command: Command, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.machine.owner += 1
    monkeypatch.delenv("SUDO_USER")
    myself = next(iter(world.users))
    entry = pwd.struct_passwd((myself, "x", os.geteuid(), os.getegid(), "", "/", "/bin/sh"))
    monkeypatch.setattr("pwd.getpwuid", {os.geteuid(): entry}.__getitem__)
    code, out, err = command("setup", "--yes")
    assert (code, err) == (1, "rpi-clusterhat: only root can do this, and nothing was done\n")
    assert f"put {myself} into the groups" in out
    found = SUDO.search(out)
    assert found is not None
    assert found[1] is not None, "sudo does not look for commands in a virtual environment"
    assert os.access(f"{found[1]}rpi-clusterhat", os.X_OK)
    assert nothing_done(world)


def test_root_without_a_user_is_put_into_no_group(
    command: Command, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("", "root"):
        monkeypatch.setenv("SUDO_USER", name)
        code, out, _ = command("setup", "--yes")
        assert code == 0
        assert "put" not in out
    assert world.users["root"] == {"root"}


@pytest.mark.parametrize("name", ["carol", "-x", "", "alice,bob"])
def test_a_user_who_is_not_there(command: Command, world: World, name: str) -> None:
    code, out, err = command("setup", "--yes", f"--user={name}")
    assert (code, out) == (2, "")
    assert f"--user: {name!r}: expected a user of this machine" in err
    assert nothing_done(world)


def test_a_caller_of_sudo_who_is_not_there(
    command: Command, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "carol")
    code, _, err = command("setup", "--yes")
    assert code == 2
    assert "SUDO_USER: 'carol'" in err


@pytest.mark.parametrize(
    ("argv", "needed"),
    [
        ("--board 1.3", False),
        ("--board 2.3", True),
        ("--board 3.1 --backend i2c", True),
        ("--board 2.3 --backend gpiod", False),
        ("--backend sim", False),
        ("", True),
    ],
)
def test_i2c_is_for_hats_on_a_bus(command: Command, world: World, argv: str, needed: bool) -> None:
    _, out, _ = command("setup", "--dry-run", *argv.split())
    assert ("i2c" in planned(out)) is needed


def test_a_hat_that_describes_itself_is_asked(command: Command, world: World) -> None:
    world.hat(0x13)
    assert "i2c" not in planned(command("setup", "--dry-run").out)
    world.hat(0x23)
    assert "switch on I2C" in command("setup", "--dry-run").out


def test_the_bus_that_is_set_is_the_one_that_is_looked_for(command: Command, world: World) -> None:
    for bus in ("4", "/dev/i2c-4"):
        assert "no I2C bus 4" in command("setup", "--dry-run", "--bus", bus).out


def test_in_a_container_it_does_nothing(command: Command, world: World) -> None:
    world.file(".dockerenv")
    code, out, err = command("setup", "--yes")
    assert (code, out) == (1, "")
    assert "this is a container" in err
    assert "--volume /run/rpi-clusterhat:/run/rpi-clusterhat" in err
    assert nothing_done(world)


# What fails ------------------------------------------------------------------------------------------------


def test_a_step_that_fails_says_how_far_it_came(command: Command, world: World) -> None:
    world.failing["systemd-tmpfiles"] = "/usr/bin/systemd-tmpfiles ended with the code 73: no space"
    code, out, err = command("setup", "--yes")
    assert code == 1
    assert re.findall(r"^done: (.*)$", out, re.MULTILINE) == ["create the group gpio", "create the group i2c"]
    assert "step 3 failed (have the folder /run/rpi-clusterhat made" in err
    assert "no space; 2 of 8 steps are done" in err
    assert err.count("\n") == 1
    world.failing.clear()
    assert command("setup", "--yes").code == 0  # what was done is not done again
    assert sum(ran.startswith("groupadd") for ran in world.ran) == 2


@pytest.mark.parametrize("rules", ["", 'SUBSYSTEM=="gpio", GROUP="gpio"\n'])
def test_a_step_that_makes_no_difference_has_failed(command: Command, world: World, rules: str) -> None:
    world.group_names |= {"gpio": 77000, "i2c": 77200}
    world.file("etc/udev/rules.d/50-a.rules", rules)
    world.device("dev/gpiochip0")
    world.udev_is_deaf = True
    code, _, err = command("setup", "--yes", "--board", "1.3")
    assert code == 1
    what = f"{'apply the' if rules else 'write'} udev rules for the GPIO chips"
    assert f"({what}): all of it was done, and made no difference" in err
    assert "1 of 3 steps is done" in err


def test_udev_may_take_its_time(command: Command, world: World) -> None:
    """What it is told to do it does after 'udevadm settle' has returned, now and then."""
    world.group_names |= {"gpio": 77000, "i2c": 77200}
    world.device("dev/gpiochip0")
    world.udev_is_deaf = True

    def do_it() -> None:
        world.udev_is_deaf = False
        world.run(["/usr/sbin/udevadm", "trigger", "--action=change", "--subsystem-match=gpio"])

    command.clock.during = {2: do_it}
    code, out, err = command("setup", "--yes", "--board", "1.3")
    assert (code, err) == (0, "")
    assert "done: write udev rules for the GPIO chips" in out
    assert command.clock.sleeps == pytest.approx([0.1, 0.3])


def test_something_in_the_way_is_told_before_anything_is_done(command: Command, world: World) -> None:
    (world.root / "run/rpi-clusterhat").symlink_to("/tmp")
    code, out, err = command("setup", "--yes")
    assert (code, out) == (1, "")
    assert "/run/rpi-clusterhat is no folder" in err
    assert nothing_done(world)


def test_this_machines_own_user_database() -> None:
    accounts = SystemAccounts()
    number = os.getegid()
    assert accounts.group(accounts.group_name(number)) == number
    assert accounts.group("no-such-group") is None
    assert accounts.group_name(2**31 - 7) == str(2**31 - 7)
    assert accounts.groups_of("no-such-user") is None
    assert accounts.group_name(0) in (accounts.groups_of("root") or ())


@pytest.mark.slow
def test_no_other_command_pays_for_it() -> None:
    """Controllers are slow: a command loads what it needs."""

    def loaded(*commands: str) -> set[str]:
        lines = [f"main({['--backend', 'sim', *command.split()]!r})" for command in commands]
        code = "; ".join(["import sys; from rpi_clusterhat.cli import main", *lines, "print(*sys.modules)"])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        modules = done.stdout.splitlines()[-1].split()
        return {name for name in modules if "setup" in name.rpartition("rpi_clusterhat.")[2]}

    others = loaded(
        "status", "on p1", "off all", "init", "boards", "backends", "settings", "version", "on p9"
    )
    assert others <= {"rpi_clusterhat._setup_command"}
    assert "rpi_clusterhat.setup.plan" in loaded("setup --dry-run")
