"""The command with the real programs of a Linux system, on a copy of this machine's root."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.setup.copies import COMMAND, LOCKS, Copy, copies

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

TAKE_A_TURN = """
import sys
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import LockError
from rpi_clusterhat.hardware.lock_record import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR
try:
    ticket = FileTurnstile(lock_path(DEFAULT_LOCK_DIR, "rail-main"), clock=SYSTEM).join()
    print("is first" if ticket.is_first() else "waits", flush=True)
    sys.stdin.read()
    ticket.close()
except LockError as error:
    sys.exit(f"refused: {error}")
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="takes root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="takes unshare, of util-linux"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Generator[Callable[..., Copy]]:
    with copies(tmp_path) as make:
        yield make


def take_a_turn(machine: Copy, user: str) -> tuple[int, str, str]:
    return machine.run_as(user, sys.executable, "-c", TAKE_A_TURN)


def test_who_is_in_the_group_can_take_a_turn_and_who_is_not_cannot(copy: Callable[..., Copy]) -> None:
    machine = copy()
    code, _, err = take_a_turn(machine, "alice")
    assert code == 1
    assert f"{LOCKS}, the folder in which programs that switch nodes share their locks, does not exist" in err
    assert f"sudo {COMMAND} setup" in err

    code, out, err = machine.run(COMMAND, "setup", "--user", "alice", "--yes")
    assert (code, err) == (0, "")
    assert "done: create the group gpio\n" in out
    assert "note: alice has to log out and in again" in out
    assert machine.lock_folder() == ("gpio", 0o2770, 0)
    assert machine.members("gpio") == ["alice"]

    assert take_a_turn(machine, "alice") == (0, "is first\n", "")
    assert take_a_turn(machine, "root") == (0, "is first\n", "")
    file = os.stat(f"{machine.root}{LOCKS}/rpi-clusterhat.rail-main.lock")
    assert (machine.group(file.st_gid), stat.S_IMODE(file.st_mode)) == ("gpio", 0o660)
    code, _, err = take_a_turn(machine, "mallory")
    assert (code, err.splitlines()[-1].partition(":")[0]) == (1, "refused")
    assert "join the group gpio ('sudo usermod -aG gpio mallory') and log in again" in err

    code, out, err = machine.run(COMMAND, "setup", "--user", "alice", "--yes")
    assert (code, out.splitlines()[0], err) == (0, "nothing is left to do", "")


def test_the_folder_is_there_again_after_a_start(copy: Callable[..., Copy]) -> None:
    machine = copy()
    if not Path("/usr/bin/systemd-tmpfiles").exists():
        pytest.skip("systemd-tmpfiles is not installed")
    assert machine.run(COMMAND, "setup", "--user", "alice", "--yes")[0] == 0
    shutil.rmtree(machine.root + LOCKS)  # as a start leaves /run
    assert machine.run("/usr/bin/systemd-tmpfiles", "--create", f"--prefix={LOCKS}") == (0, "", "")
    assert machine.lock_folder() == ("gpio", 0o2770, 0)
    assert take_a_turn(machine, "alice")[0] == 0


@pytest.mark.parametrize("hidden", [(), ("/usr/bin/systemd-tmpfiles", "/bin/systemd-tmpfiles")])
def test_a_folder_of_a_strangers_is_put_right(copy: Callable[..., Copy], hidden: tuple[str, ...]) -> None:
    machine = copy(*(word for path in hidden for word in ("--hide", path)))
    folder = machine.root + LOCKS
    os.mkdir(folder)
    os.chown(folder, 42003, 42003)
    os.chmod(folder, 0o777)
    code, out, err = machine.run(COMMAND, "setup", "--user", "alice", "--yes")
    assert (code, err) == (0, "")
    assert machine.lock_folder() == ("gpio", 0o2770, 0)
    assert ("'install -d -o root -g gpio -m 2770" in out) is bool(hidden)
    assert take_a_turn(machine, "alice")[0] == 0
    assert take_a_turn(machine, "mallory")[0] == 1


def test_a_link_is_not_followed(copy: Callable[..., Copy]) -> None:
    machine = copy()
    os.mkdir(f"{machine.root}/tmp/precious", 0o700)
    os.symlink("/tmp/precious", machine.root + LOCKS)
    code, out, err = machine.run(COMMAND, "setup", "--user", "alice", "--yes")
    assert (code, out) == (1, "")
    assert err.startswith(f"rpi-clusterhat: {LOCKS} is no folder")
    assert stat.S_IMODE(os.stat(f"{machine.root}/tmp/precious").st_mode) == 0o700
    assert not any(line.startswith("gpio:") for line in machine.groups())


def test_ctrl_c_is_an_answer(copy: Callable[..., Copy]) -> None:
    machine = copy()
    with machine.start(COMMAND, "setup", "--user", "alice", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "Go ahead? [y/N]\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "rpi-clusterhat: interrupted: nothing was done\n")
    assert not os.path.exists(machine.root + LOCKS)


def test_an_ordinary_user_is_told_the_line_to_type(copy: Callable[..., Copy]) -> None:
    machine = copy()
    code, out, err = machine.run_as("alice", COMMAND, "setup")
    assert code == 1
    assert "put alice into the groups gpio and i2c" in out
    assert out.splitlines()[-1] == f"To do this: sudo {COMMAND} setup"
    assert "only root can do this" in err


def test_a_container_shares_the_rail_with_the_controller(copy: Callable[..., Copy], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o755)
    controller = copy("--run", str(run))
    assert controller.run(COMMAND, "setup", "--user", "alice", "--yes")[0] == 0
    locks = run / "rpi-clusterhat"
    number = str(locks.stat().st_gid)
    container = copy("--share", str(locks))
    Path(container.root, ".dockerenv").touch()
    # No such user and no such group there: only numbers, as 'docker run --user 1234 --group-add' gives them.
    stranger = ("setpriv", "--reuid", "1234", "--regid", "1234", "--groups")
    turn = (sys.executable, "-c", TAKE_A_TURN)
    alice = ("setpriv", "--reuid", "alice", "--regid", "alice", "--init-groups")
    with controller.start(*alice, *turn, stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "is first\n"
        assert container.run(*stranger, number, *turn) == (0, "waits\n", "")
        holder.communicate(timeout=60)
    assert container.run(*stranger, number, *turn) == (0, "is first\n", "")
    code, _, err = container.run(*stranger, "1234", *turn)
    assert code == 1
    assert f"docker run --group-add {number}" in err

    alone = copy()
    Path(alone.root, ".dockerenv").touch()
    code, _, err = alone.run(*stranger, number, *turn)
    assert code == 1
    assert "in a container share the folder of the controller" in err
    code, out, err = alone.run(COMMAND, "setup", "--yes")
    assert (code, out) == (1, "")
    assert "this is a container" in err
    assert not os.path.exists(alone.root + LOCKS)
