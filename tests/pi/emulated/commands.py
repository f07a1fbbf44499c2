"""The command ``rpi-clusterhat`` on the emulated Pi."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.pi.machine.booting import Pi, Ran, Started

P1, P2, P3, P4, ALERT = LINES = 6, 13, 19, 26, 5
"""BCM lines of a v1 board."""
COMMAND = ("python3", "-m", "rpi_clusterhat", "--spacing", "0.1", "--board")


def v1(pi: Pi, *arguments: str) -> Ran:
    return pi.run(*COMMAND, "1.2", *arguments)


def done(ran: Ran) -> str:
    """What a command that did what it was told has said."""
    assert ran.code == 0, ran
    return ran.output


def powered(ran: Ran) -> dict[str, bool]:
    """Which nodes are on, as ``status --json`` says."""
    return {name: node["powered"] for name, node in json.loads(done(ran))["nodes"].items()}


def nodes(*numbers: int) -> dict[str, bool]:
    """Just these are on."""
    return {f"p{number}": number in numbers for number in range(1, 5)}


def driven(pi: Pi, **levels: bool) -> None:
    """Asserts what the nodes' lines are driven to; the others are inputs."""
    expected = {offset: levels.get(f"p{number}") for number, offset in enumerate(LINES[:4], 1)}
    assert pi.lines(*LINES[:4]) == expected


def release_lines(pi: Pi, **pulls: int) -> None:
    """Makes all lines inputs without a holder; ``p1=1`` has P1's read high."""
    given = (f"{LINES[int(name[1:]) - 1]}={level}" for name, level in pulls.items())
    ran = pi.run("python3", "/guest/release_lines.py", *given)
    assert ran.code == 0, ran


def start_holding(pi: Pi, *arguments: str) -> Started:
    """Starts a command of the form ``on --hold`` and waits until it holds."""
    started = pi.start(*COMMAND, "1.2", *arguments)
    deadline = time.monotonic() + 60
    while True:
        said, code = started.heard()
        if "holding" in said:
            return started
        assert code is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
