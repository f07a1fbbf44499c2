"""Orders of steps that once went wrong, or that look as if they could."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat import State
from rpi_clusterhat.errors import SupersededError
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.testing import FakeClock
from tests.safety.callers import Caller, Watched
from tests.safety.rigs import SPACING, SimRig

if TYPE_CHECKING:
    from pathlib import Path

NODES = ["p1", "p2", "p3", "p4"]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.rig = SimRig(self.clock, str(folder), set_up=True, pos=False)
        turnstile = Watched(LocalTurnstile(), self.rig.violations, [])
        self.inventory = Inventory(
            [Bank(self.rig.board, self.rig.open(), Rail(turnstile, self.clock, SPACING), NODES)], self.clock
        )

    def on(self, *nodes: str) -> Caller:
        return Caller(self.inventory, "on", nodes, plans.switch_on(nodes))

    def off(self, *nodes: str) -> Caller:
        return Caller(self.inventory, "off", nodes, plans.switch_off(nodes))


def end(*callers: Caller) -> None:
    for _ in range(1000):
        for caller in callers:
            caller.step()
    assert all(caller.done for caller in callers)


def steps(caller: Caller, count: int) -> None:
    for _ in range(count):
        caller.step()


def test_a_node_that_is_wanted_again_is_not_switched_on_out_of_turn(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    other = bench.on("p2", "p3")
    steps(other, 4)
    assert bench.rig.powered("p2")
    waiting = bench.on("p1")
    steps(waiting, 2)  # stands behind the other, who waits for p3
    end(bench.off("p1"))
    waiting.step()  # sees that it need not wait any more
    again = bench.on("p1")
    waiting.step()  # finds it wanted again: by the one who asked last, in that one's turn
    assert not bench.rig.powered("p1")
    assert isinstance(waiting.error, SupersededError) or not waiting.done
    end(other, waiting, again)
    assert bench.rig.powered("p1")
    assert bench.rig.violations == []


def test_an_off_between_the_look_and_the_queue_of_an_on_is_obeyed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    on = bench.on("p1")
    on.step()  # its look
    end(bench.off("p1"))
    end(on)
    assert isinstance(on.error, SupersededError)
    assert not bench.rig.powered("p1")
    assert bench.inventory.entries["p1"].state is State.OFF


def test_who_asks_twice_for_one_node_switches_it_on_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    callers = [bench.on("p1"), bench.on("p1"), bench.on("p1")]
    end(*callers)
    assert [caller.error for caller in callers] == [None, None, None]
    assert len(bench.rig.power_ups) == 1
    assert bench.rig.violations == []


def test_one_who_gives_up_leaves_the_others_their_wish(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    end(bench.on("p4"))
    first, second = bench.on("p1"), bench.on("p1")
    steps(first, 2)
    steps(second, 2)
    first.cancel(KeyboardInterrupt(), after_next=False)
    end(first, second)
    assert isinstance(first.error, KeyboardInterrupt)
    assert second.error is None
    assert bench.rig.powered("p1")
    assert bench.rig.violations == []
