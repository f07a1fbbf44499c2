"""The dialogue with a real node's console: agetty, login, systemd and a kernel that talks in between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import LoginError
from rpi_clusterhat.nodes.console.console import Console
from rpi_clusterhat.nodes.console.states import ConsoleState
from rpi_clusterhat.nodes.console.watch import Ending
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.settings.secret import Secret
from rpi_clusterhat.waiting import drive

from .machine.image import PASSWORDS
from .terminal import until

if TYPE_CHECKING:
    from rpi_clusterhat_sim.rack.rack import Rack

pytestmark = [pytest.mark.rack, pytest.mark.slow]


def test_a_node_is_logged_in_to_from_its_boot_and_halted(rack: Rack) -> None:
    path = rack.console("p1")
    rack.set_power("p1", True)
    assert until(lambda: os.path.exists(path))
    with Console(path, "root", Secret("wrong")) as console:
        with pytest.raises(LoginError, match="refused the user 'root'") as caught:
            console.login()
        assert PASSWORDS["root"] not in str(caught.value)
        assert console.look() is ConsoleState.LOGIN
    with Console(path, "root", Secret(PASSWORDS["root"])) as console:
        console.login()
        assert console.look() is ConsoleState.SHELL
        assert console.run("id -un; exit 3") == Finished(3, "root\n")
        long = "x" * 6000
        assert console.run(["echo", long]).output == f"{long}\n"
        console.run("systemctl is-system-running --wait", timeout=60)
        talk = console.dialogue
        drive(talk.steps_send(["systemctl", "poweroff"], lambda: 60))
        seen = drive(talk.steps_watch(lambda: 60, 30))
        assert seen.ending in {Ending.LAST_WORDS, Ending.HUNG_UP}, seen
    assert until(lambda: not rack.is_running("p1"))
    assert rack.is_clean("p1")
