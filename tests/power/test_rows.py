"""Every row of the table of power states is reached by something that happens to a node."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rpi_clusterhat import NodeFailedError, State, StuckLineError
from rpi_clusterhat.errors import TransientBusError
from rpi_clusterhat.power import inventory as inventory_module
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.operation import Operation
from rpi_clusterhat.power.states import TABLE, Trigger, after
from rpi_clusterhat.waiting import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import pytest

    from tests.lab import Lab, MemoryBackend

P1 = 6
"""The offset of p1's line."""

Row = tuple[State, Trigger]


class Bench:
    """One node, and what can happen to it."""

    def __init__(self, lab: Lab) -> None:
        self.backend: MemoryBackend = lab.memory()
        self.clock = lab.clock
        self.clock.advance(5.0)  # the rail is free
        self.inventory = Inventory(lab.banks(self.backend, version="1.3", size=1), lab.clock)
        self.look()

    @property
    def state(self) -> State:
        return self.inventory.entries["p1"].state

    def look(self) -> None:
        self.inventory.refresh()

    def on(self) -> None:
        drive(Operation(self.inventory).steps(plans.switch_on(["p1"])), self.clock)

    def off(self) -> None:
        drive(Operation(self.inventory).steps(plans.switch_off(["p1"])), self.clock)

    def outside(self, *, on: bool) -> None:
        self.backend.levels[P1] = on
        self.look()

    def probe(self, *, up: bool) -> None:
        self.inventory.report_probe("p1", up=up)

    def halt(self, *, under_way: bool = True) -> None:
        self.inventory.report_halt("p1", under_way=under_way)

    def unreadable(self) -> None:
        with self.failing("read"), suppress(TransientBusError):
            self.look()

    def ready(self) -> None:
        self.on()
        self.probe(up=True)

    def halting(self) -> None:
        self.ready()
        self.halt()

    def queued(self) -> Operation:
        """An operation whose next step would take its turn on the rail."""
        operation = Operation(self.inventory)
        operation.perform(plans.Read(("p1",), desired=True))
        operation.perform(plans.Queue(("p1",)))
        return operation

    def stuck(self, call: Callable[[], None], *, unreadable: bool = False) -> None:
        def stick(what: str) -> None:
            if what == "write":
                self.backend.before = self.fail_read if unreadable else str
                raise StuckLineError("shorted")

        self.backend.before = stick
        with suppress(NodeFailedError):
            call()
        self.backend.before = str

    @contextmanager
    def failing(self, access: str) -> Generator[None]:
        def fail(what: str) -> None:
            if what == access:
                raise TransientBusError(121, "gone")

        self.backend.before = fail
        yield
        self.backend.before = str

    @staticmethod
    def fail_read(what: str) -> None:
        if what == "read":
            raise TransientBusError(121, "gone")


def switched_by_others(bench: Bench) -> None:
    for on in (True, True, False, False):
        bench.outside(on=on)


def switched(bench: Bench) -> None:
    bench.on()
    bench.look()
    bench.off()
    bench.queued().finish()
    bench.on()
    bench.outside(on=False)


def waited(bench: Bench) -> None:
    operation = bench.queued()
    bench.look()
    bench.outside(on=True)
    operation.finish()
    bench.outside(on=False)
    bench.queued()
    bench.off()
    bench.queued()
    bench.unreadable()


def failed_while_it_waited(bench: Bench) -> None:
    operation = bench.queued()
    operation.perform(plans.TakeTurn("p1"))
    operation.perform(plans.Fail("p1", "shorted"))
    bench.look()
    bench.outside(on=True)
    bench.off()


def switched_on_after_another_failed(bench: Bench) -> None:
    first, second = bench.queued(), bench.queued()
    first.perform(plans.Fail("p1", "shorted"))
    second.perform(plans.TakeTurn("p1"))
    second.perform(plans.SwitchOn("p1"))


def cycled_while_another_waits_for_it(bench: Bench) -> None:
    waiting = bench.queued()
    bench.backend.levels[P1] = True
    cycle = Operation(bench.inventory)
    cycle.perform(plans.Read(("p1",), desired=True))
    cycle.perform(plans.Cut(("p1",)))
    waiting.perform(plans.TakeTurn("p1"))
    waiting.perform(plans.SwitchOn("p1"))


def probed_and_halted(bench: Bench) -> None:
    bench.ready()
    bench.look()
    bench.probe(up=False)
    bench.halt()
    bench.look()
    bench.halt(under_way=False)
    bench.probe(up=True)
    bench.halt()
    bench.off()
    bench.ready()
    bench.off()
    bench.ready()
    bench.outside(on=False)
    bench.ready()
    bench.halt()
    bench.outside(on=False)


def unreadable(bench: Bench) -> None:
    bench.unreadable()
    bench.unreadable()
    for prepare in (bench.on, bench.ready, bench.halting):
        bench.look()
        prepare()
        bench.unreadable()
        bench.outside(on=False)


def forgotten_while_it_is_switched(bench: Bench) -> None:
    operation = bench.queued()
    operation.perform(plans.TakeTurn("p1"))
    bench.unreadable()
    operation.perform(plans.SwitchOn("p1"))
    bench.unreadable()
    Operation(bench.inventory).perform(plans.Cut(("p1",)))


def switched_off_twice_at_once(bench: Bench) -> None:
    bench.on()
    seen = Operation(bench.inventory).perform(plans.Read(("p1",), desired=False))
    bench.off()
    assert seen.powered == {"p1": True}
    Operation(bench.inventory).perform(plans.Cut(("p1",)))


def stuck(bench: Bench) -> None:
    bench.on()
    bench.stuck(bench.off)
    bench.stuck(bench.off)
    bench.on()
    bench.off()
    bench.stuck(bench.on)
    bench.on()
    bench.stuck(bench.off, unreadable=True)
    bench.unreadable()
    bench.on()
    bench.probe(up=True)
    bench.stuck(bench.off)
    bench.on()
    bench.halt()
    bench.stuck(bench.off)
    Operation(bench.inventory).perform(plans.Retry(("p1",)))
    bench.outside(on=False)
    Operation(bench.inventory).perform(plans.Fail("p1", "shorted"))


SCENARIOS = (
    switched_by_others,
    switched,
    waited,
    failed_while_it_waited,
    switched_on_after_another_failed,
    cycled_while_another_waits_for_it,
    probed_and_halted,
    unreadable,
    forgotten_while_it_is_switched,
    switched_off_twice_at_once,
    stuck,
)


def test_every_row_is_reached(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reached: dict[Row, str] = {}
    scenario = ""

    def watched(state: State, trigger: Trigger) -> State:
        new = after(state, trigger)
        reached.setdefault((state, trigger), scenario)
        return new

    monkeypatch.setattr(inventory_module, "after", watched)
    for play in SCENARIOS:
        scenario = play.__name__
        play(Bench(lab))
    rows = {(state, trigger) for state, row in TABLE.items() for trigger in row}
    assert rows - reached.keys() == set()
