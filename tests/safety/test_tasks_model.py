"""Tasks of an event loop among cancellations and faults: the same promises, through `AsyncCluster` itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (not annotated there)
)

from rpi_clusterhat import AsyncCluster
from rpi_clusterhat.errors import ClusterHatError
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.power.states import has_power
from rpi_clusterhat.testing import FakeClock
from tests.safety.callers import Watched, WatchedTicket
from tests.safety.rigs import SPACING, ExpanderRig, Rig, SimRig

if TYPE_CHECKING:
    from collections.abc import Callable

NODES = ["p1", "p2", "p3", "p4"]
ROUNDS_TO_END = 50_000
_T = TypeVar("_T")


class InlineExecutor(ThreadPoolExecutor):
    """Runs a call at once where a pool would run it in a thread: so a run can be repeated exactly."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (it belongs to the future)
            future.set_exception(error)
        return future


class TasksMachine(RuleBasedStateMachine):
    """Two clusters on one rail, each with tasks, in one event loop that goes on round by round."""

    rig: Rig

    @initialize(kind=st.sampled_from([SimRig, ExpanderRig]), set_up=st.booleans())
    def begin(self, kind: type[Rig], set_up: bool) -> None:
        self.folder = tempfile.mkdtemp()
        self.clock = FakeClock()
        self.rig = kind(self.clock, self.folder, set_up=set_up, pos=False)
        self.clock.advance(SPACING)
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(InlineExecutor(1))
        self.line: list[WatchedTicket] = []
        self.tasks: list[asyncio.Task[None]] = []
        local = LocalTurnstile()
        self.hats: list[AsyncCluster] = []
        for _ in range(2):
            rail = Rail(Watched(local, self.rig.violations, self.line), self.clock, SPACING)
            self.hats.append(AsyncCluster([Bank(self.rig.board, self.rig.open(), rail, NODES)], self.clock))

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.everyone_ends()
            self.nothing_is_violated()
        finally:
            for task in self.tasks:
                task.cancel()
            self._round(100)
            self.loop.close()
            shutil.rmtree(self.folder)

    def _round(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    @rule(
        hat=st.sampled_from([0, 0, 1]),
        what=st.sampled_from(["on", "on", "off", "cycle"]),
        nodes=st.sampled_from([["p1"], ["p1"], ["p2", "p1"], NODES]),
        rounds=st.sampled_from([0, 1, 5]),
    )
    def call(self, hat: int, what: str, nodes: list[str], rounds: int) -> None:
        self.tasks.append(self.loop.create_task(getattr(self.hats[hat], what)(*nodes)))
        self._round(rounds)

    @rule(rounds=st.sampled_from([1, 1, 2, 3, 7, 50, 400]))
    def go_on(self, rounds: int) -> None:
        self._round(rounds)

    @rule(data=st.data(), rounds=st.integers(0, 3), again=st.booleans())
    def cancel(self, data: st.DataObject, rounds: int, again: bool) -> None:
        live = [i for i, task in enumerate(self.tasks) if not task.done()]
        if live:
            task = self.tasks[data.draw(st.sampled_from(live), label="task")]
            task.cancel()
            self._round(rounds)
            if again:
                task.cancel()

    @rule(seconds=st.sampled_from([0.001, 1.0, SPACING, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(access=st.integers(1, 6), times=st.sampled_from([1, 3, 4, None]), applied=st.integers(0, 3))
    def bus_fails(self, access: int, times: int | None, applied: int) -> None:
        self.rig.fail(access, times, applied=applied)

    @rule()
    def bus_heals(self) -> None:
        self.rig.heal()

    @rule(node=st.sampled_from(NODES), on=st.booleans())
    def another_program_switches(self, node: str, on: bool) -> None:
        self.rig.outside({self.rig.nodes[node]: on})

    @rule()
    def board_loses_power(self) -> None:
        self.rig.lose_power()

    @rule(hat=st.integers(0, 1))
    def look(self, hat: int) -> None:
        """Runs the loop until the answer is there; the tasks go on meanwhile."""
        seen: list[tuple[bool, bool, bool | None]] = []

        async def status() -> None:
            try:
                nodes = (await self.hats[hat].status()).nodes
            except ClusterHatError:
                return
            # With an executor that runs calls at once, nothing came between the read and this.
            seen.extend((one.powered, before[name], has_power(one.state)) for name, one in nodes.items())

        before = {node: self.rig.powered(node) for node in NODES}
        task = self.loop.create_task(status())
        changes = len(self.rig.power_ups)
        while not task.done():
            self._round()
        assert task.exception() is None
        if changes == len(self.rig.power_ups) and before == {n: self.rig.powered(n) for n in NODES}:
            for powered, really, state in seen:
                assert powered is really
                assert state in (None, powered)

    @invariant()
    def nothing_is_violated(self) -> None:
        assert not hasattr(self, "rig") or not self.rig.violations, self.rig.violations

    @rule()
    def everyone_ends(self) -> None:
        self.rig.heal()
        for _ in range(ROUNDS_TO_END):
            if all(task.done() for task in self.tasks):
                break
            self._round()
        for task in self.tasks:
            assert task.done(), task
            if not task.cancelled():
                assert task.exception() is None or isinstance(task.exception(), ClusterHatError)
        self.tasks.clear()
        assert self.line == []
        for hat in self.hats:
            for record in vars(hat)["_inventory"].entries.values():
                assert not record.waiting
                assert str(record.state) != "queued"


def test_tasks_among_cancellations_and_faults() -> None:
    run_state_machine_as_test(
        TasksMachine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
