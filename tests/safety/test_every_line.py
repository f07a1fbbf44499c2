"""One Ctrl-C at each line of what an operation runs through, in turn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import Cluster
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

FILES = ("cluster.py", "waiting.py", "plans.py", "operation.py", "inventory.py")


class Interrupter:
    """Raises at the n-th line of the library's own that is run."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if "rpi_clusterhat" not in file or not file.endswith(FILES) or frame.f_code.co_name == "close":
            return None
        if event == "line":
            self.left -= 1
            if not self.left:
                self.where = f"{file}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self


OPERATIONS: dict[str, Callable[[Cluster], None]] = {
    "on": lambda hat: hat.on("p1", "p2", "p3"),
    "off": lambda hat: hat.off("all"),
    "cycle": lambda hat: hat.cycle("p3", "p4"),
    "reset": lambda hat: hat.hub.reset(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interruption_at_any_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = FakeExpander()

    def open_bus(_: object) -> FakeSMBus:
        return FakeSMBus({0x20: chip})

    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
    at = 0
    clock = FakeClock()
    while True:
        at += 1
        interrupter = Interrupter(at)
        with Cluster.open("2.3", lock_dir=str(tmp_path), clock=clock, config="/dev/null") as hat:
            hat.off("all")
            hat.on("p4")
            clock.advance(5)
            former = sys.gettrace()
            sys.settrace(interrupter)
            try:
                OPERATIONS[name](hat)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(former)
            if not interrupter.where:
                break
            status = hat.status()
            shown = {n: bool(chip.levels >> i & 1) for i, n in enumerate(hat.names)}
            assert {n: node.powered for n, node in status.nodes.items()} == shown, interrupter.where
            for node, seen in status.nodes.items():
                assert str(seen.state) == ("on" if shown[node] else "off"), (interrupter.where, node)
            assert status.boards[0].functions == {"alert": False, "led": True, "hub": True, "wp": True}, (
                interrupter.where
            )
            # Nobody is left in the rail's queue. A power-up that was not seen through costs a spacing.
            clock.advance(5)
            before = clock.now()
            hat.off("all")
            hat.on("p1")
            assert clock.now() - before in (0.0, 2.0), interrupter.where
            clock.advance(5)
    assert at > 60
