"""Processes that share a world."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.state_file import StateFile
from tests.backends.sim.boards import LINES, world_of

if TYPE_CHECKING:
    from rpi_clusterhat.testing import FakeClock


PROGRAM = """
import sys
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.state_file import StateFile
path, offset, times, holds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "holds"
lines = [Line(i, f"p{i + 1}") for i in range(4)]
backend = SimBackend(StateFile(path, history=None), lines, holds=holds)
for i in range(times):
    backend.write({offset: i % 2 == 0})
print("done", flush=True)
sys.stdin.read()
"""


def program(path: str, offset: int, times: int, holds: str = "holds") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, path, str(offset), str(times), holds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_switch_at_once_lose_nothing(path: str) -> None:
    times = 41
    running = [program(path, offset, times) for offset in range(3)]
    for process in running:
        assert process.communicate(timeout=60)[0] == "done\n"
        assert process.returncode == 0
    backend = SimBackend(StateFile(path, history=None), LINES[:4])
    assert backend.read() == {0: True, 1: True, 2: True, 3: False}
    what = [record.what for record in world_of(backend).history]
    assert what.count("write") == 3 * times
    assert (what.count("on"), what.count("off")) == (3 * (times + 1) // 2, 3 * (times - 1) // 2)


def test_lines_that_are_not_held_drop_when_their_process_is_killed(path: str) -> None:
    with program(path, 0, 1, "drops") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        backend = SimBackend(StateFile(path), LINES[:4])
        backend.write({1: True})
        assert backend.read() == {0: True, 1: True, 2: False, 3: False}
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not waited for yet
        assert backend.read() == {0: False, 1: True, 2: False, 3: False}
    assert backend.read() == {0: False, 1: True, 2: False, 3: False}
    backend.write({2: True})
    assert [node.powered for node in world_of(backend).nodes] == [False, True, True, False]


def test_lines_of_a_holder_of_before_a_reboot_have_dropped(path: str, clock: FakeClock) -> None:
    backend = SimBackend(StateFile(path, clock=clock, boot="one"), LINES, holds=False)
    backend.write({0: True})
    assert SimBackend(StateFile(path, clock=clock, boot="one"), LINES).read()[0]
    assert not SimBackend(StateFile(path, clock=clock, boot="two"), LINES).read()[0]
