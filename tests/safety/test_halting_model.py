"""Halts among each other: no card is lost unless that was asked for, or the time for the halt was over.

Nodes write to their cards without end, so that whoever cuts one that is not down corrupts its card.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (not annotated there)
)

from rpi_clusterhat import AsyncCluster, Cluster
from rpi_clusterhat.errors import BackendError, ClusterHatError
from rpi_clusterhat.events import CutWithoutHalt, NodeHalted, State, StateChanged
from rpi_clusterhat.testing import FakeClock, simulated
from tests.safety.test_tasks_model import InlineExecutor

if TYPE_CHECKING:
    from rpi_clusterhat.events import Event
    from rpi_clusterhat.testing import SimulatedNode

NODES = ["p1", "p2", "p3"]
# Sums of few powers of two, but for the library's own tenths of a second.
BOOT_TIME, HALT_TIME, SETTLE, TIMEOUT, SPACING = 1.5, 0.5, 0.5, 4.0, 0.25
TURNS = 30
"""Turns of the loop in which tasks get done what takes no time."""
AT_ONCE = "its power was to be cut at once"

some_nodes = st.sampled_from([["p1"], ["p1"], ["p2"], ["p2", "p1"], NODES])
one_node = st.sampled_from(["p1", "p1", "p2", "p3"])


class Told(NamedTuple):
    time: float
    event: Event


class HaltingMachine(RuleBasedStateMachine):
    """Callers in one event loop, what befalls the nodes meanwhile, and a clock that is moved by hand."""

    loop: asyncio.AbstractEventLoop

    @initialize(boots=st.booleans())
    def begin(self, boots: bool) -> None:
        self.folder = tempfile.mkdtemp()
        self.clock = FakeClock(1000.0, by_hand=True)
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(InlineExecutor(1))
        options = {
            "boot_time": BOOT_TIME,
            "halt_time": HALT_TIME,
            "writes": True,
            "corrupt_boots": boots,
            "capacity": 100,
            "history": 10**6,
        }
        self.sync = Cluster.open(
            "2.3",
            backend="sim",
            options=options,
            lock_dir=self.folder,
            spacing=SPACING,
            node={"halt": ["simulated"], "halt_timeout": TIMEOUT, "halt_settle": SETTLE},
            clock=self.clock,
        )
        self.hat = AsyncCluster.of(self.sync)
        self.tasks: list[asyncio.Task[None]] = []
        self.told: list[Told] = []
        self.to_be_cut: set[str] = set()
        self.unexpected: list[BaseException] = []
        self.sync.subscribe(lambda event: self.told.append(Told(self.clock.now(), event)))

    def teardown(self) -> None:
        if not hasattr(self, "sync"):
            return
        try:
            self.everyone_ends()
            self.what_is_reported_is_so()
            self.no_card_is_lost_in_silence()
        finally:
            for task in self.tasks:
                task.cancel()
            self._pass(0.0)
            self.sync.close()
            self.loop.close()
            shutil.rmtree(self.folder)

    def _pass(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.pass_time(seconds, turns=TURNS))

    def _node(self, name: str) -> SimulatedNode:
        return simulated(self.sync)[name]

    def _call(self, what: str, nodes: list[str], **how: Any) -> None:
        async def call() -> None:
            try:
                await getattr(self.hat, what)(nodes, **how)
            except ClusterHatError:
                pass  # superseded, refused: what it did not do, it has said
            except Exception as error:  # noqa: BLE001 - told at the end, with the steps that led to it
                self.unexpected.append(error)

        if how.get("now"):
            self.to_be_cut |= set(nodes)
        self.tasks = [task for task in self.tasks if not task.done()]
        self.tasks.append(self.loop.create_task(call()))

    # What random calls seldom come to ---------------------------------------------------------------------

    @rule(node=one_node, fault=st.sampled_from([{"ignored": True}, {"hangs": True}, {"seconds": 6.0}]))
    def time_runs_out(self, node: str, fault: dict[str, Any]) -> None:
        self.are_up([node])
        self.halts_otherwise(node, fault)
        self.off([node], cut=True)
        self._pass(TIMEOUT + 0.5)

    @rule(node=one_node, seconds=st.sampled_from([0.0, 3.0]))
    def is_left_half_way(self, node: str, seconds: float) -> None:
        self.are_up([node])
        self.halts_otherwise(node, {"seconds": seconds})
        self.off([node], cut=True)
        self._pass(0.3)
        self.tasks[-1].cancel()
        self._pass(0.0)

    @rule(node=one_node, after=st.sampled_from([0.3, HALT_TIME + 0.1, HALT_TIME + SETTLE]))
    def is_cut_by_another_and_boots_again(self, node: str, after: float) -> None:
        """While the one who halted it waits, or lets it settle."""
        self.are_up([node])
        self.off([node], cut=True)
        self._pass(after)
        self.off_now([node])
        self._pass(0.0)
        self.on([node])

    # Callers ----------------------------------------------------------------------------------------------

    @rule(nodes=some_nodes)
    def on(self, nodes: list[str]) -> None:
        self._call("on", nodes)

    @rule(nodes=some_nodes)
    def are_up(self, nodes: list[str]) -> None:
        """What most begins with, so that not every example has to find it."""
        self._call("on", nodes)
        self._pass(len(nodes) * SPACING + BOOT_TIME + 0.1)

    @rule(nodes=some_nodes, cut=st.booleans())
    def off(self, nodes: list[str], cut: bool) -> None:
        self._call("off", nodes, cut=cut)

    @rule(nodes=some_nodes)
    def off_now(self, nodes: list[str]) -> None:
        self._call("off", nodes, now=True)

    @rule(nodes=some_nodes, pause=st.sampled_from([0.0, 1.0]))
    def cycle(self, nodes: list[str], pause: float) -> None:
        self._call("cycle", nodes, pause=pause)

    @rule(nodes=some_nodes)
    def cycle_now(self, nodes: list[str]) -> None:
        self._call("cycle", nodes, pause=0.5, now=True)

    @rule(node=one_node)
    def call_off(self, node: str) -> None:
        """As a lease does."""
        self.hat[node].call_off_halt()

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        live = [i for i, task in enumerate(self.tasks) if not task.done()]
        if live:
            self.tasks[data.draw(st.sampled_from(live), label="task")].cancel()

    # What befalls the nodes -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.1, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)

    @rule(node=one_node)
    def hangs(self, node: str) -> None:
        self._node(node).hang()

    @rule(
        node=one_node,
        fault=st.sampled_from(
            [{}, {}, {"ignored": True}, {"hangs": True}, {"seconds": 0.0}, {"seconds": 3.0}, {"seconds": 6.0}]
        ),
    )
    def halts_otherwise(self, node: str, fault: dict[str, Any]) -> None:
        self._node(node).fail_halting(**fault)

    @rule(node=one_node, fault=st.sampled_from([{}, {"boots": False}, {"hang_after": 2.0}, {"slow": 4.0}]))
    def boots_otherwise(self, node: str, fault: dict[str, Any]) -> None:
        self._node(node).fail(**fault)

    @rule(node=one_node)
    def somebody_halts_it(self, node: str) -> None:
        try:
            self._node(node).halt()
        except BackendError:
            pass

    @rule(node=one_node)
    def is_repaired(self, node: str) -> None:
        self._node(node).repair()

    # What must hold ---------------------------------------------------------------------------------------

    @invariant()
    def no_card_is_lost_in_silence(self) -> None:
        """Each card that was corrupted had been told of, since its node had got its power."""
        if not hasattr(self, "sync"):
            return
        self._pass(0.0)  # who has just cut a node gets to tell of it
        on: dict[str, float] = {}
        for event in simulated(self.sync).boards[0].history:
            if event.what == "on":
                on[event.node] = event.time
            elif event.what == "corrupted":
                assert [
                    told
                    for told in self.told
                    if isinstance(told.event, CutWithoutHalt)
                    and told.event.node == event.node
                    and on[event.node] < told.time <= event.time
                ], f"{event} was not told of: {self._of(event.node)}"

    @invariant()
    def what_is_reported_is_so(self) -> None:
        """Cut at once is who was to be; cut late is whose time was over; down is who is."""
        if not hasattr(self, "sync"):
            return
        began: dict[str, float] = {}
        for time, event in self.told:
            if isinstance(event, StateChanged) and event.new is State.STOPPING:
                began[event.node] = time
            elif isinstance(event, CutWithoutHalt) and event.reason == AT_ONCE:
                assert event.node in self.to_be_cut
            elif isinstance(event, CutWithoutHalt):
                assert "within 4 s" in event.reason
                assert time - began[event.node] >= TIMEOUT - 1e-6, self._of(event.node)
            elif isinstance(event, NodeHalted):
                assert event.seconds <= TIMEOUT + 0.2
                assert event.reason != "its power was cut", "another did that, and has told of it"

    @invariant()
    def nothing_unexpected_was_raised(self) -> None:
        assert getattr(self, "unexpected", []) == []

    def everyone_ends(self) -> None:
        for _ in range(50):
            if all(task.done() for task in self.tasks):
                break
            self._pass(2 * TIMEOUT)
        assert all(task.done() for task in self.tasks), self.tasks
        self._pass(0.0)
        for node in self.sync:
            powered = self._node(node.name).powered
            assert node.powered is powered
            assert node.state in (
                (State.ON, State.READY, State.STOPPING, State.FAILED)
                if powered
                else (State.OFF, State.FAILED)
            )
            if node.state is State.STOPPING:
                assert self._node(node.name).phase != "up" or self._was_told_to_halt(node.name)

    def _was_told_to_halt(self, name: str) -> bool:
        return any(
            event.node == name and event.what in ("halting", "no-halt")
            for event in simulated(self.sync).boards[0].history
        )

    def _of(self, node: str) -> list[Told]:
        return [told for told in self.told if getattr(told.event, "node", None) == node][-12:]


def test_no_card_is_lost_unless_that_is_told() -> None:
    run_state_machine_as_test(
        HaltingMachine,
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_a_node_that_another_has_booted_meanwhile_is_not_cut_with_the_last_that_halts() -> None:
    machine = HaltingMachine()
    machine.begin(boots=True)
    try:
        machine.are_up(["p1", "p2"])
        machine.halts_otherwise("p1", {"seconds": 0.0})
        machine.halts_otherwise("p2", {"hangs": True})
        machine.off(["p2", "p1"], cut=True)
        machine.time_passes(0.3)
        machine.tasks[-1].cancel()
        machine.time_passes(0.0)
        machine.on(["p1", "p2"])
        machine.time_passes(1.0)
        machine.off_now(["p1"])
        machine.time_passes(0.1)
        machine.on(["p1"])
        machine.time_passes(2 * TIMEOUT)
    finally:
        machine.teardown()


def test_a_cycle_does_not_cut_a_node_that_another_has_halt_meanwhile() -> None:
    machine = HaltingMachine()
    machine.begin(boots=True)
    try:
        machine.are_up(["p1"])
        machine.cycle(["p1"], pause=4.0)
        machine.time_passes(1.5)
        machine.is_left_half_way("p1", seconds=3.0)
        machine.time_passes(2 * TIMEOUT)
    finally:
        machine.teardown()
