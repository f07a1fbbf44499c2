"""Whatever callers, faults and other programs do in whatever order: what must always hold."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (not annotated there)
)

from rpi_clusterhat.errors import ClusterHatError
from rpi_clusterhat.events import Event, StateChanged
from rpi_clusterhat.hardware.locks import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile, LocalTurnstile
from rpi_clusterhat.power import plans
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.inventory import Inventory
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.power.states import State, has_power
from rpi_clusterhat.testing import FakeClock
from tests.safety.callers import Caller, Watched, WatchedTicket
from tests.safety.rigs import SPACING, ExpanderRig, Rig, SimRig

if TYPE_CHECKING:
    from rpi_clusterhat.power.plans import Plan

NODES = ["p1", "p2", "p3", "p4"]
PROGRAMS = 2
STEPS_TO_END = 4000
"""More than enough for all the callers of one run: a wait of a spacing is 40 looks at the queue."""

# Few nodes and one program more often than the other: what goes wrong does so where callers meet.
subsets = st.sampled_from([["p1"], ["p1"], ["p2", "p1"], ["p1", "p2", "p3"], NODES])
programs = st.sampled_from([0, 0, 0, 1])
interruptions = st.sampled_from([KeyboardInterrupt, asyncio.CancelledError])
ACCESSES = [f"{when} {what}" for when in ("before", "after") for what in ("read", "write")]


class Program:
    """A process that has a cluster open."""

    def __init__(self, rig: Rig, turnstile: Watched) -> None:
        self.inventory = Inventory(
            [Bank(rig.board, rig.open(), Rail(turnstile, rig.clock, SPACING), NODES)], rig.clock
        )
        self.replayed: dict[str, State] = {}
        self.violations = rig.violations
        self.inventory.subscribe(self._hear)
        self.inventory.refresh()
        self.inventory.deliver()
        self.replayed = {name: record.state for name, record in self.inventory.entries.items()}

    def _hear(self, event: Event) -> None:
        if isinstance(event, StateChanged) and self.replayed:
            if self.replayed[event.node] is not event.old:
                self.violations.append(f"{event} after {self.replayed[event.node]}")
            self.replayed[event.node] = event.new


class CallersMachine(RuleBasedStateMachine):
    """Two programs and the callers in them, on a board that works."""

    rig: Rig

    @initialize(
        kind=st.sampled_from([SimRig, ExpanderRig]),
        pos=st.booleans(),
        set_up=st.booleans(),
        shared=st.booleans(),
    )
    def begin(self, kind: type[Rig], pos: bool, set_up: bool, shared: bool) -> None:
        self.folder = tempfile.mkdtemp()
        self.clock = FakeClock()
        self.rig = kind(self.clock, self.folder, set_up=set_up, pos=pos)
        self.clock.advance(SPACING)
        self.line: list[WatchedTicket] = []
        self.local = None if shared else LocalTurnstile()
        self.callers: list[tuple[int, Caller]] = []
        self.programs = [self._program() for _ in range(PROGRAMS)]

    def _program(self) -> Program:
        turnstile = self.local or FileTurnstile(lock_path(self.folder, "rail-main"), clock=self.clock)
        return Program(self.rig, Watched(turnstile, self.rig.violations, self.line))

    def teardown(self) -> None:
        try:
            if hasattr(self, "rig"):
                self.everyone_ends()
                self.nothing_is_violated()
        finally:
            if hasattr(self, "folder"):
                shutil.rmtree(self.folder)

    # Callers ----------------------------------------------------------------------------------------------

    def _call(self, index: int, what: str, nodes: list[str], plan: Plan[Any]) -> None:
        caller = Caller(self.programs[index].inventory, what, nodes, plan)
        for _, other in self.callers:
            if not other.done and set(other.nodes) & set(nodes):
                other.disturbed = caller.disturbed = True
        self.callers.append((index, caller))
        self._check_end(caller)

    @rule(index=programs, nodes=subsets)
    def call_on(self, index: int, nodes: list[str]) -> None:
        self._call(index, "on", nodes, plans.switch_on(nodes))

    @rule(index=programs, nodes=subsets)
    def call_off(self, index: int, nodes: list[str]) -> None:
        self._call(index, "off", nodes, plans.switch_off(nodes))

    @rule(index=programs, nodes=subsets, pause=st.sampled_from([0.0, 1.0, 3.0]))
    def call_cycle(self, index: int, nodes: list[str], pause: float) -> None:
        self._call(index, "cycle", nodes, plans.cycle(nodes, pause))

    def _live(self) -> list[Caller]:
        return [caller for _, caller in self.callers if not caller.done]

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), steps=st.sampled_from([1, 1, 1, 2, 3, 50]))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        """One of the callers gets some steps further."""
        if live := self._live():
            caller = data.draw(st.sampled_from(live), label="caller")
            for _ in range(steps):
                self._step(caller)

    @precondition(lambda self: self.callers)
    @rule(rounds=st.integers(1, 60))
    def all_go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            for caller in self._live():
                self._step(caller)

    def _step(self, caller: Caller) -> None:
        if caller.done:
            return
        before, ups = self.rig.levels(), len(self.rig.power_ups)
        set_up = self.rig.is_set_up()
        caller.step()
        after = self.rig.levels()
        if set_up:
            self._check_lines(caller, before, after)
        assert len(self.rig.power_ups) <= ups + 1
        self._check_end(caller)

    def _check_lines(self, caller: Caller, before: dict[int, bool], after: dict[int, bool]) -> None:
        """A step switches its own lines, and no others: not the ALERT LED above all."""
        own = {self.rig.nodes[node] for node in caller.nodes}
        if caller.what == "hub-reset":
            own = {self.rig.board.functions["hub"].offset}
        changed = {offset for offset in before if before[offset] is not after[offset]}
        assert changed <= own, (caller, before, after)
        if caller.what == "on":
            assert all(after[offset] for offset in changed)
        if caller.what == "off":
            assert not any(after[offset] for offset in changed)

    def _check_end(self, caller: Caller) -> None:
        if not caller.done:
            return
        assert not caller.operation.queued, caller
        assert caller.operation.turn is None, caller
        assert caller.error is None or isinstance(
            caller.error, (ClusterHatError, KeyboardInterrupt, asyncio.CancelledError)
        ), caller
        if caller.error is None and not caller.disturbed:
            for node in caller.nodes:
                assert self.rig.powered(node) is (caller.what != "off"), caller
                assert self.rig.driven(node), caller

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), error=interruptions, after_next=st.booleans())
    def cancel(self, data: st.DataObject, error: type[BaseException], after_next: bool) -> None:
        if live := self._live():
            data.draw(st.sampled_from(live), label="caller").cancel(error(), after_next=after_next)

    def _disturb(self) -> None:
        for caller in self._live():
            caller.disturbed = True

    @rule(node=st.sampled_from(NODES), pull=st.booleans())
    def another_program_lets_go_of_a_line(self, node: str, pull: bool) -> None:
        self._disturb()
        self.rig.let_go(self.rig.nodes[node], pull)

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.999, SPACING, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    # What holds -------------------------------------------------------------------------------------------

    @rule(index=programs)
    def look(self, index: int) -> None:
        """After a read that worked no state contradicts the hardware."""
        program = self.programs[index]
        try:
            powered = program.inventory.refresh()
        except ClusterHatError:
            return
        finally:
            program.inventory.deliver()
        for node, record in program.inventory.entries.items():
            assert powered[node] is self.rig.powered(node)
            assert has_power(record.state) in (None, powered[node]), record.state
            assert record.state is not State.UNKNOWN
            assert (record.state is State.FAILED) is (record.failure is not None)

    @invariant()
    def nothing_is_violated(self) -> None:
        assert not getattr(self, "rig", None) or not self.rig.violations, self.rig.violations

    @invariant()
    def events_tell_the_state(self) -> None:
        for program in getattr(self, "programs", []):
            states = {name: record.state for name, record in program.inventory.entries.items()}
            assert program.replayed == states

    @rule()
    def everyone_ends(self) -> None:
        """On a bus that works, all come to their end; then nobody waits or holds a place."""
        self.rig.heal()
        for _ in range(STEPS_TO_END):
            live = self._live()
            if not live:
                break
            for caller in live:
                self._step(caller)
        assert not self._live(), self.callers
        self.callers.clear()
        assert self.line == []
        for program in self.programs:
            for record in program.inventory.entries.values():
                assert not record.waiting
                assert record.state is not State.QUEUED
        self._nobody_holds_the_rail()

    def _nobody_holds_the_rail(self) -> None:
        turnstile: Any = self.local or FileTurnstile(lock_path(self.folder, "rail-main"), clock=self.clock)
        ticket = turnstile.join()
        assert ticket.is_first()
        ticket.close()
        assert not [name for name in os.listdir(self.folder) if not name.endswith(".lock")]


class SurroundingsMachine(CallersMachine):
    """The same with interruptions, faults, power losses, other programs and programs that end."""

    @rule(index=programs)
    def call_hub_reset(self, index: int) -> None:
        self._call(index, "hub-reset", [], plans.pulse_off("hub", 0.5))

    @rule(index=programs)
    def call_init(self, index: int) -> None:
        self._call(index, "init", [], plans.set_up(NODES))

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), where=st.sampled_from(ACCESSES), error=interruptions, steps=st.integers(1, 4))
    def interrupt_an_access(
        self, data: st.DataObject, where: str, error: type[BaseException], steps: int
    ) -> None:
        """A Ctrl-C that arrives while the backend is at work."""
        if live := self._live():
            caller = data.draw(st.sampled_from(live), label="caller")

            def interrupt(access: str) -> None:
                if access == where:
                    self.rig.on_access = None
                    raise error

            self.rig.on_access = interrupt
            for _ in range(steps):
                self._step(caller)
            self.rig.on_access = None

    @rule(access=st.integers(1, 8), times=st.sampled_from([1, 2, 3, 5, None]), applied=st.integers(0, 3))
    def bus_fails(self, access: int, times: int | None, applied: int) -> None:
        self.rig.fail(access, times, applied=applied)

    @rule()
    def bus_heals(self) -> None:
        self.rig.heal()

    @rule(node=st.sampled_from(NODES), on=st.booleans())
    def another_program_switches(self, node: str, on: bool) -> None:
        self._disturb()
        self.rig.outside({self.rig.nodes[node]: on})

    @rule(on=st.booleans())
    def another_program_switches_the_alert(self, on: bool) -> None:
        self.rig.outside({self.rig.board.functions["alert"].offset: on})

    @rule()
    def board_loses_power(self) -> None:
        self._disturb()
        self.rig.lose_power()

    @rule(node=st.sampled_from(NODES), level=st.sampled_from([None, None, False, True]))
    def line_sticks(self, node: str, level: bool | None) -> None:
        self._disturb()
        self.rig.stick(self.rig.nodes[node], level)

    @rule(index=programs)
    def close_and_open(self, index: int) -> None:
        """Who still waits in a closed cluster is told so."""
        self.programs[index].inventory.close()
        for owner, caller in self.callers:
            if owner == index:
                for _ in range(STEPS_TO_END):
                    self._step(caller)
                    if caller.done:
                        break
        self.rig.heal()
        self.programs[index] = self._program()

    @precondition(lambda self: self.callers and self.local is None)
    @rule(index=programs, where=st.sampled_from(["now", *ACCESSES]), data=st.data())
    def killed(self, index: int, where: str, data: st.DataObject) -> None:
        """SIGKILL, also in the middle of an access: the kernel closes the files, and nothing is unwound."""
        own = [caller for owner, caller in self.callers if owner == index and not caller.done]
        if not own:
            return
        alive = True

        def die(access: str) -> None:
            nonlocal alive
            if access == where and alive:
                alive = False
                self._close_files(own)
                raise SystemExit

        if where != "now":
            self.rig.on_access = die
            caller = data.draw(st.sampled_from(own), label="caller")
            for _ in range(4):
                if alive and not caller.done:
                    caller.step()
            self.rig.on_access = None
        if alive:
            self._close_files(own)
        self.callers = [(owner, caller) for owner, caller in self.callers if owner != index]
        self._disturb()
        self.rig.violations[:] = [
            v for v in self.rig.violations if v != "a ticket that is gone stored a record"
        ]
        self.rig.heal()
        self.programs[index] = self._program()

    @staticmethod
    def _close_files(callers: list[Caller]) -> None:
        for caller in callers:
            if caller.operation.turn is not None:
                vars(caller.operation.turn)["_ticket"].die()


SETTINGS = settings(
    max_examples=250, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_callers_on_a_board_that_works() -> None:
    run_state_machine_as_test(CallersMachine, settings=SETTINGS)


def test_callers_among_faults_interruptions_and_other_programs() -> None:
    run_state_machine_as_test(SurroundingsMachine, settings=SETTINGS)
