"""A node's power is the life of its processes, and its disk tells how it ended."""

from __future__ import annotations

import glob
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import BackendError, ClosedError, NodeNameError
from rpi_clusterhat_sim.rack.rack import Rack
from tests.rack.terminal import Terminal, until

if TYPE_CHECKING:
    from rpi_clusterhat_sim.rack.built import Built
    from tests.lab import Lab

pytestmark = [pytest.mark.rack, pytest.mark.slow]


def processes(folder: str) -> list[int]:
    """Those that work in the folder of a rack, or in whose command line it is."""
    found: list[int] = []
    for path in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{path}/cmdline", "rb") as file:
                named = folder.encode() in file.read()
            if named or os.readlink(f"{path}/cwd").startswith(folder):
                found.append(int(path.split("/")[2]))
        except OSError:
            continue
    return found


def test_a_halt_ends_the_node_and_leaves_its_disk_clean(rack: Rack) -> None:
    assert rack.is_clean("p1")
    rack.set_power("p1", True)
    with Terminal(rack.console("p1")) as terminal:
        terminal.log_in()
        assert rack.is_running("p1")
        assert not rack.is_clean("p1")
        terminal.say("systemctl is-system-running --wait")
        terminal.wait_for("running\r\n")
        terminal.say("poweroff")
        terminal.wait_for_end()
        assert b"System halted" in terminal.read
    assert until(lambda: not os.path.lexists(rack.console("p1")), 5)
    assert not rack.is_running("p1")
    assert rack.is_clean("p1")
    # It has power still, so it stays down.
    rack.set_power("p1", True)
    assert rack.is_powered("p1")
    assert not rack.is_running("p1")
    rack.set_power("p1", False)
    assert not rack.is_powered("p1")
    rack.set_power("p1", True)
    assert rack.is_running("p1")


def test_a_cut_leaves_the_disk_as_it_is(rack: Rack) -> None:
    rack.set_power("p1", True)
    assert until(lambda: not rack.is_clean("p1")), "it mounts its disk"
    with Terminal(rack.console("p1")) as terminal:
        assert len(processes(rack.folder)) > 4
        rack.set_power("p1", False)
        assert len(processes(rack.folder)) == 2, "those that run the others"
        terminal.wait_for_end(5)
    assert not rack.is_running("p1")
    assert not os.path.lexists(rack.console("p1"))
    assert not rack.is_clean("p1")
    assert rack.is_clean("p2"), "each has a disk of its own"


def test_another_source_of_levels_drives_it(rack: Rack, lab: Lab) -> None:
    """An expander here, which the library drives over I2C; whatever can be asked for levels now and then."""
    expander = lab.expander()
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(0.01):
            for number, name in enumerate(rack.names):
                rack.set_power(name, bool(expander.output >> number & 1))

    poll = threading.Thread(target=follow)
    poll.start()
    try:
        with lab.hat(expander) as hat:
            hat.on("p2")
            assert until(lambda: rack.is_running("p2"), 10)
            assert not rack.is_running("p1")
            hat.off("p2")
            assert until(lambda: not rack.is_powered("p2"), 10)
    finally:
        ended.set()
        poll.join()


def test_a_rack_that_is_closed_leaves_nothing(built: Built) -> None:
    with Rack(["p1"], built=built) as rack:
        rack.set_power("p1", True)
        assert processes(rack.folder)
    assert not processes(rack.folder)
    assert not os.path.exists(rack.folder)
    rack.close()
    with pytest.raises(ClosedError):
        rack.set_power("p1", True)


OWNER = """
import sys, time
from rpi_clusterhat_sim.rack.built import Built
from rpi_clusterhat_sim.rack.rack import Rack

rack = Rack(["p1", "p2"], built=Built(sys.argv[1]))
rack.set_power("p1", True)
rack.set_power("p2", True)
print(rack.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["owner", "keeper", "unshare"])
def test_who_is_killed_leaves_nothing(built: Built, victim: str) -> None:
    """Neither a process nor, as it ends with the last process, a network."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, built.place], stdout=subprocess.PIPE, text=True
    ) as owner:
        try:
            assert owner.stdout is not None
            folder = owner.stdout.readline().strip()
            started = processes(folder)
            assert started
            unshare, keeper = sorted(started)[:2]
            os.kill({"owner": owner.pid, "keeper": keeper, "unshare": unshare}[victim], signal.SIGKILL)
            assert until(lambda: not processes(folder), 10)
        finally:
            owner.kill()
    if victim == "owner":
        assert until(lambda: not os.path.exists(folder), 10)
    shutil.rmtree(folder, ignore_errors=True)  # nobody is left who would


def test_a_keeper_that_was_killed_is_told(rack: Rack) -> None:
    rack.set_power("p1", True)
    _, keeper = sorted(processes(rack.folder))[:2]
    os.kill(keeper, signal.SIGKILL)
    with pytest.raises(BackendError, match="the process that ran the nodes"):
        rack.is_running("p1")


def test_a_network_that_cannot_be_made_is_told(rack: Rack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the command ``ip``, say."""
    monkeypatch.setattr("rpi_clusterhat_sim.rack.rack.path", lambda: "/usr/bin:/bin")
    fake = Path(rack.folder, "ip")
    fake.write_text("#!/bin/sh\necho 'no such device' >&2; exit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", rack.folder)
    with pytest.raises(BackendError, match="network cannot be made: no such device"):
        rack.set_power("p1", True)
    with pytest.raises(BackendError, match="does not answer"):
        rack.set_power("p1", True)


def test_a_forked_child_keeps_nothing_alive(built: Built) -> None:
    forks = OWNER.replace("time.sleep(600)", "import os\nos.fork()\ntime.sleep(600)")
    with subprocess.Popen(
        [sys.executable, "-c", forks, built.place], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as owner:
        try:
            assert owner.stdout is not None
            folder = owner.stdout.readline().strip()
            assert processes(folder)
            owner.kill()
            assert until(lambda: not processes(folder), 10)
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_names_are_those_of_nodes(built: Built, tmp_path: Path) -> None:
    for name in ("p0", "p254", "p01", "q1", "p"):
        with pytest.raises(NodeNameError, match="p1 to p253"):
            Rack([name], built=built, folder=str(tmp_path))
    with Rack(["p7"], built=built, folder=str(tmp_path)) as rack:
        with pytest.raises(NodeNameError, match="it has p7"):
            rack.set_power("p1", True)
        assert not rack.is_running("p7")
        rack.set_power("p7", False)
        assert repr(rack) == f"<Rack of 1 nodes in {tmp_path}>"
    assert tmp_path.exists()
