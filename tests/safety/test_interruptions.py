"""Ctrl-C at every single moment of an operation."""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

import rpi_clusterhat
from rpi_clusterhat import Cluster
from rpi_clusterhat.hardware.turnstile import FileTurnstile, LocalTurnstile, Turnstile
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.power.states import has_power
from rpi_clusterhat.testing import FakeClock
from tests.safety.rigs import SPACING, SimRig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

LIBRARY = os.path.dirname(rpi_clusterhat.__file__) + os.sep
NODES = ["p1", "p2", "p3", "p4"]


class Interrupter:
    """Raises `KeyboardInterrupt` at the so many-th moment at which CPython would look for a signal while the
    library runs: when a function begins, and when one written in C has returned."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self.where = ""

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(LIBRARY):
            return
        if frame.f_code.co_name in ("close", "<genexpr>"):
            return  # also run as finalizers, from which CPython lets no error out
        self.left -= 1
        if self.left == 0:
            name = os.path.basename(frame.f_code.co_filename)
            self.where = f"{name}:{frame.f_lineno} {event} {getattr(arg, '__name__', '')}"
            raise KeyboardInterrupt

    def run(self, call: Callable[[], object]) -> bool:
        """Whether it came to that."""
        sys.setprofile(self)
        try:
            call()
        except KeyboardInterrupt:
            return True
        finally:
            sys.setprofile(None)
        return False


OPERATIONS: dict[str, Callable[[Cluster], object]] = {
    "on": lambda hat: hat.on("p1", "p2"),
    "off": lambda hat: hat.off("p3", "p4"),
    "cycle": lambda hat: hat.cycle("p2", "p3"),
}


@pytest.mark.parametrize("shared", [False, True], ids=["local", "shared"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_interruption_anywhere_leaves_no_place_and_no_lie(
    tmp_path: Path, operation: str, shared: bool
) -> None:
    moment = 0
    interrupted = True
    while interrupted:
        moment += 1
        turnstile: Turnstile = (
            FileTurnstile(str(tmp_path / f"rail-{moment}.lock")) if shared else LocalTurnstile()
        )
        clock = FakeClock()
        rig = SimRig(clock, str(tmp_path), set_up=True, pos=False)
        rig.outside({rig.nodes["p3"]: True})
        hat = Cluster([Bank(rig.board, rig.open(), Rail(turnstile, clock, SPACING), NODES)], clock)
        interrupter = Interrupter(moment)
        interrupted = interrupter.run(functools.partial(OPERATIONS[operation], hat))
        ticket = turnstile.join()
        assert ticket.is_first(), interrupter.where
        ticket.close()
        for node, status in hat.status().nodes.items():
            assert status.powered is rig.powered(node)
            assert has_power(status.state) is status.powered, (interrupter.where, node, status)
        hat.on("all")
        hat.off("all")
        assert rig.violations == [], interrupter.where
    assert moment > 50
