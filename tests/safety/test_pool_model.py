"""Whatever users, nodes and other programs do in whatever order: what must always hold for a whole pool."""

from __future__ import annotations

import asyncio
import math
import shutil
import tempfile
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (not annotated there)
)

from rpi_clusterhat.errors import (
    ClusterHatError,
    PoolError,
)
from rpi_clusterhat.events import CutWithoutHalt, State, StateChanged
from rpi_clusterhat.pool.balance import BALANCERS
from rpi_clusterhat.pool.states import PoolState
from tests.safety.model_settings import NEVER, NODES, SETTINGS
from tests.safety.pools import SETTLE, SPACING, House
from tests.safety.test_tasks_model import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rpi_clusterhat import AsyncNodePool, Lease
    from rpi_clusterhat.events import Event


HOUSE_NODES = [*NODES, "p4"]
PROBE_TAKES = 0.0625
house_nodes = st.sampled_from(HOUSE_NODES)


class PoolMachine(RuleBasedStateMachine):
    """A whole pool on simulated nodes, in an event loop that goes on as the clock is moved."""

    pool: AsyncNodePool

    @initialize(
        balance=st.sampled_from(BALANCERS),
        maxconn=st.integers(1, 3),
        idle_timeout=st.sampled_from([0.5, 4.0, math.inf]),
        min_on_time=st.sampled_from([0.0, 3.0]),
        redispatch=st.booleans(),
        on=st.booleans(),
        probe_takes=st.sampled_from([0.0, PROBE_TAKES]),
        halts=st.booleans(),
        boot_attempts=st.integers(1, 3),
        quarantine=st.sampled_from([3.0, math.inf]),
    )
    def begin(
        self,
        balance: str,
        maxconn: int,
        idle_timeout: float,
        min_on_time: float,
        redispatch: bool,
        on: bool,
        probe_takes: float,
        halts: bool,
        boot_attempts: int,
        quarantine: float,
    ) -> None:
        self.folder = tempfile.mkdtemp()
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(InlineExecutor(1))
        self.house = House(self.folder, probe_takes=probe_takes, halts=halts)
        self.clock = self.house.clock
        self.outside_at: dict[str, float] = {}
        """When another program last touched a node."""
        self.cycled_at: dict[str, float] = {}
        """When another thread did so, which the cluster knows and the pool's event loop may not know yet."""
        self.outside_ups: set[tuple[float, str]] = set()
        self.may_corrupt: set[tuple[float, str]] = set()
        """When another program cut a node's power, or this one did so without a halt and said so."""
        self.switched: set[str] = set()
        """By others, at any time."""
        if on:
            self._outside("p1", on=True)
        self.pool = self.house.pool(
            balance=balance,
            maxconn=maxconn,
            queue=12,
            queue_timeout=20.0,
            boot_timeout=6.0,
            idle_timeout=idle_timeout,
            min_on_time=min_on_time,
            retry_after_failure=2.0,
            redispatch=redispatch,
            boot_attempts=boot_attempts,
            quarantine=quarantine,
        )
        self.problems: list[str] = []
        self.users: list[Tenant] = []
        self.callers: list[asyncio.Task[None]] = []
        self.house.hat.subscribe(self._heard)
        off = self.off = self.house.hat.off

        async def watched_off(*names: str) -> None:
            self.problems += [f"{name} off with a lease" for name in names if self.pool.nodes[name].leases]
            await off(*names)

        vars(self.house.hat)["off"] = watched_off
        self._run(self.pool.open())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            if hasattr(self, "pool"):
                self.everybody_has_an_answer()
                self._run(self._while_time_passes(self.pool.close(off=True)))
                self._run(self.house.hat.close())
                assert not asyncio.all_tasks(self.loop)
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self._run(asyncio.sleep(0))
            self.loop.close()
            shutil.rmtree(self.folder)

    def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self.loop.run_until_complete(work)

    async def _while_time_passes(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.ensure_future(work)
        for _ in range(1000):
            if task.done():
                break
            await self.clock.pass_time(0.125, turns=30)
        await task

    def _call(self, call: Callable[[], object]) -> None:
        async def in_the_loop() -> None:
            call()

        self._run(in_the_loop())

    def _pass(self, seconds: float) -> None:
        self._run(self.clock.pass_time(seconds, turns=30))

    def _outside(self, name: str, *, on: bool) -> None:
        now = self.outside_at[name] = self.clock.now()
        self.switched.add(name)
        if on and not self.house.world[name].powered:
            self.outside_ups.add((now, name))
        elif not on:
            self.may_corrupt.add((now, name))
        self.house.outside(**{name: on})

    # Users --------------------------------------------------------------------------------------------------

    @rule(
        wanted=st.sampled_from([None, None, None, *HOUSE_NODES]),
        passive=st.sampled_from([False, False, False, True]),
        count=st.sampled_from([1, 1, 2, 5]),
    )
    def come(self, wanted: str | None, passive: bool, count: int) -> None:
        for _ in range(count):
            lease = self.pool.lease(wanted, key=str(len(self.users)), passive=passive)
            self.users.append(Tenant(self, lease))

    def _some(self, data: st.DataObject) -> Tenant | None:
        live = [user for user in self.users if not user.task.done()]
        return data.draw(st.sampled_from(live), label="user") if live else None

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if user := self._some(data):
            user.leaves.set()

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        if user := self._some(data):
            user.task.cancel()

    @rule(data=st.data())
    def meet_a_failure(self, data: st.DataObject) -> None:
        if user := self._some(data):
            self._call(user.lease.failed)

    @rule(name=house_nodes, on=st.booleans())
    def by_hand(self, name: str, on: bool) -> None:
        self._call(partial(self.pool.wake if on else self.pool.power_off, name))

    @rule(name=house_nodes)
    def let_out(self, name: str) -> None:
        self._call(partial(self.pool.reinstate, name))

    # The world ----------------------------------------------------------------------------------------------

    @rule(name=house_nodes, kind=st.sampled_from(["no-boot", "slow", "very slow", "hang", "hangs", "sound"]))
    def node_fails(self, name: str, kind: str) -> None:
        node = self.house.world[name]
        if kind == "hang":
            node.hang()
        else:
            slow = {"slow": 2.0, "very slow": 20.0}.get(kind, 1.0)
            node.fail(boots=kind != "no-boot", slow=slow, hang_after=3.0 if kind == "hangs" else None)

    @rule(name=house_nodes, how=st.sampled_from(["ignored", "hangs", "slow", "sound"]))
    def halts_fail(self, name: str, how: str) -> None:
        node = self.house.world[name]
        node.fail_halting(
            ignored=how == "ignored", hangs=how == "hangs", seconds=3.0 if how == "slow" else None
        )

    @rule(name=house_nodes, on=st.booleans())
    def another_program_switches(self, name: str, on: bool) -> None:
        self._outside(name, on=on)

    @rule(name=house_nodes, on=st.booleans())
    def another_caller_switches(self, name: str, on: bool) -> None:
        """Of the same cluster, whose events tell the pool."""
        self.switched.add(name)
        if not on:
            self.outside_at[name] = self.clock.now()
        self.callers.append(self.loop.create_task(self._switch(name, on=on)))

    @rule(data=st.data(), steps=st.integers(0, 40), turns=st.integers(0, 6))
    def another_thread_cycles_a_node_that_is_probed(
        self, data: st.DataObject, steps: int, turns: int
    ) -> None:
        """The pool's event loop hears of it later, and may be at anything meanwhile."""
        probed = [node.name for node in self.pool.nodes.values() if node.is_starting]
        if not probed:
            return
        name = data.draw(st.sampled_from(probed), label="node")
        for _ in range(steps):
            if self.house.world[name].is_up:
                break
            self._pass(PROBE_TAKES)
        self.clock.advance(PROBE_TAKES)
        for _ in range(turns):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        self.cycled_at[name] = self.clock.now()
        self.switched.add(name)
        # At once: with a halt it would wait for the event loop, whose thread this is.
        for call in (partial(self.house.sync.off, now=True), self.house.sync.on):
            try:
                call(name)
            except ClusterHatError:
                break  # the bus failed
        self.cycled_at[name] = self.clock.now()  # switching on may have waited for the rail

    async def _switch(self, name: str, *, on: bool) -> None:
        try:
            await (self.house.hat.on(name) if on else self.off(name))
        except ClusterHatError:
            pass  # somebody else switched it otherwise, or the bus failed
        if not on:
            self.outside_at[name] = self.clock.now()

    @rule(access=st.integers(1, 6))
    def bus_fails_once(self, access: int) -> None:
        self.house.world.boards[0].fail_bus(access)

    @rule(seconds=st.sampled_from([0.0, 0.125, 0.25, 1.0, 1.5, 5.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self._pass(seconds)
        assert self._held() == self._used()

    def _held(self) -> int:
        return sum(member.leases for member in self.pool.nodes.values())

    def _used(self) -> int:
        return len([user for user in self.users if user.has_it])

    @rule()
    def one_turn(self) -> None:
        self._run(asyncio.sleep(0))

    def _heard(self, event: Event) -> None:
        """Nobody says that a node is ready for what it answered before its power was cut."""
        if isinstance(event, CutWithoutHalt):
            self.may_corrupt.add((self.clock.now(), event.node))
        elif isinstance(event, StateChanged) and event.new is State.READY:
            self._check("ready", event.node, self.outside_at.get(event.node, NEVER))

    def check_lease(self, name: str) -> None:
        """The node is up, or was when it was last looked at: what hung or was switched by others since then
        may not be known yet."""
        self._check("a lease", name, max(at.get(name, NEVER) for at in (self.outside_at, self.cycled_at)))

    def _check(self, what: str, name: str, outside_at: float) -> None:
        began = max((time for time, node in self.ups() if node == name), default=NEVER)
        phase = self.house.world[name].phase
        if phase not in ("up", "hung") and outside_at < began:
            self.problems.append(f"{what}: {name}, which is {phase}")

    # What holds ---------------------------------------------------------------------------------------------

    @invariant()
    def nobody_saw_a_wrong(self) -> None:
        if hasattr(self, "problems"):
            assert not self.problems, self.problems

    @invariant()
    def numbers_are_true(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool = self.pool
        assert 0 <= pool.waiting <= 12
        assert self._held() >= self._used()  # one whose task has not run yet has not heard of it
        for member in pool.nodes.values():
            assert 0 <= member.in_flight <= pool.settings.maxconn
            assert member.failed_boots < pool.settings.boot_attempts or member.is_quarantined
            assert member.state is PoolState.FAILED or not member.is_quarantined
            if member.is_quarantined and not member.leases and member.powered_since is not None:
                # Its power is being cut, or that failed, or others have switched it on.
                assert member.is_being_cut or member.power_off_failures or member.name in self.switched

    def ups(self) -> list[tuple[float, str]]:
        """The power-ups that are not another program's."""
        return [up for up in self.house.told("on") if up not in self.outside_ups]

    @invariant()
    def no_card_is_corrupted_unless_that_was_told(self) -> None:
        if hasattr(self, "pool") and self.house.halts:
            untold = [it for it in self.house.told("corrupted") if it not in self.may_corrupt]
            assert [it for it in untold if not self._was_booted_by_others(*it)] == []

    def _was_booted_by_others(self, time: float, name: str) -> bool:
        """Whether another program gave it power right after its halt, which nobody sees before the cut."""
        return any(node == name and time - SETTLE <= at <= time for at, node in self.outside_ups)

    def everybody_has_an_answer(self) -> None:
        """With sound nodes and all who leave soon, everybody is answered, and the nodes go off."""
        self.house.world.boards[0].heal_bus()
        for name in HOUSE_NODES:
            self.house.world[name].fail()
            self.house.world[name].fail_halting()
        for _ in range(40):
            for user in self.users:
                user.leaves.set()
            if all(task.done() for task in (*self.callers, *(user.task for user in self.users))):
                break
            self._pass(2.0)
        assert [user for user in self.users if not user.task.done()] == []
        assert all(caller.done() for caller in self.callers)
        assert self.pool.waiting == 0
        self.nobody_saw_a_wrong()
        assert all(b - a >= SPACING - 1e-5 for (a, _), (b, _) in pairwise(self.ups())), self.ups()
        if self.pool.settings.idle_timeout < math.inf:
            self._pass(100.0)
            assert {node.phase for node in self.house.world} == {"off"}, self.house.world


class Tenant:
    """Somebody who uses a node for a while."""

    def __init__(self, machine: PoolMachine, lease: Lease) -> None:
        self.machine = machine
        self.lease = lease
        self.leaves = asyncio.Event()
        self.has_it = False
        self.task = machine.loop.create_task(self._use())

    async def _use(self) -> None:
        try:
            async with self.lease as lease:
                self.has_it = True
                try:
                    self.machine.check_lease(lease.node)
                    await self.leaves.wait()
                finally:
                    self.has_it = False
        except PoolError:
            pass  # an answer, too


def test_pools_among_users_faults_and_other_programs() -> None:
    run_state_machine_as_test(PoolMachine, settings=settings(SETTINGS, max_examples=100))
