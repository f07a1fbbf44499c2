"""Whatever clients and drivers do in whatever order: what must always hold for the decisions of a pool."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType] (not annotated there)
)

from rpi_clusterhat.errors import (
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolError,
    QueueFullError,
)
from rpi_clusterhat.events import (
    BootFailed,
    BootFinished,
    BootStarted,
    PoolEvent,
    PoweredOff,
    PowerOffFailed,
    Quarantined,
)
from rpi_clusterhat.pool.actions import BackOff, Boot, CallOff, Check, CutPower, WatchIdle
from rpi_clusterhat.pool.balance import BALANCERS
from rpi_clusterhat.pool.scheduler import Scheduler
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.pool.states import PoolState
from rpi_clusterhat.testing import FakeClock
from tests.safety.model_settings import NEVER, NODES, SETTINGS
from tests.safety.scheduler_clients import Client, Work

if TYPE_CHECKING:
    from rpi_clusterhat.pool.pooled_node import PooledNode


ROUNDS_TO_END = 200
HAS_POWER = (PoolState.BOOTING, PoolState.CHECKING)
LONGEST_BACK_OFF = 64.0
"""Sixteen times ``retry_after_failure``, as the first model has it."""

nodes = st.sampled_from(NODES)


class DispatcherMachine(RuleBasedStateMachine):
    """The decisions of a pool, and a world that is not in its hands."""

    core: Scheduler

    @initialize(
        balance=st.sampled_from(BALANCERS),
        maxconn=st.integers(1, 3),
        queue=st.sampled_from([0, 2, 100, 100, 100, 100]),
        idle_timeout=st.sampled_from([0.0, 10.0, 10.0, math.inf]),
        min_on_time=st.sampled_from([0.0, 5.0, 25.0]),
        redispatch=st.booleans(),
        boot_attempts=st.integers(1, 3),
        quarantine=st.sampled_from([0.0, 20.0, 100.0, math.inf]),
    )
    def begin(
        self,
        balance: str,
        maxconn: int,
        queue: int,
        idle_timeout: float,
        min_on_time: float,
        redispatch: bool,
        boot_attempts: int,
        quarantine: float,
    ) -> None:
        self.clock = FakeClock()
        self.core = Scheduler(
            NODES,
            PoolSettings(
                balance=balance,
                maxconn=maxconn,
                queue=queue,
                idle_timeout=idle_timeout,
                min_on_time=min_on_time,
                retry_after_failure=4.0,
                redispatch=redispatch,
                boot_attempts=boot_attempts,
                quarantine=quarantine,
            ),
            self.clock.now,
            random=Random(1),
        )
        self.events: list[PoolEvent] = []
        self.core.subscribe(self.events.append)
        self.clients: list[Client] = []
        self.work: dict[str, Work] = {}
        self.has_power = dict.fromkeys(NODES, False)
        self.known_on = dict.fromkeys(NODES, False)
        """Whether the pool was told that the node has power."""
        self.last_active = dict.fromkeys(NODES, NEVER)
        self.on_since = dict.fromkeys(NODES, NEVER)
        self.silent = dict.fromkeys(NODES, 0)
        """Boots in a row that timed out, or so many that only one is left, after a quarantine."""
        self.quarantined: dict[str, float] = {}
        """Nodes that nobody has let out, and when the time does."""
        self.to_be_let_out: set[str] = set()
        """Those of them that a person lets out, and whose power is just being cut."""
        self.to_stay: set[str] = set()
        """Nodes that go off, and that a lease needs meanwhile."""
        self.sleepers: list[tuple[str, float]] = []
        """Whose idle time is looked at, and when next."""

    def teardown(self) -> None:
        if hasattr(self, "core"):
            self.all_ends_well()

    # What the pool does -------------------------------------------------------------------------------------

    def granted(self, client: Client, member: PooledNode) -> None:
        name = member.name
        work = self.work.get(name)
        assert member.state is PoolState.READY, member
        assert self.known_on[name]
        assert work is None or not isinstance(work.action, (Boot, CutPower, BackOff)) or work.powered, work
        holders = [c for c in self.clients if c is not client and c.holds and c.pooled_node is member]
        assert len(holders) + 1 <= self.core.settings.maxconn
        assert client.wanted in (None, name)
        if not client.passive:
            self.last_active[name] = self.clock.now()

    def take_actions(self) -> None:
        """As a pool does after each call: what is newer for a node ends what was begun for it."""
        while self.core.actions:
            action = self.core.actions.popleft()
            name = action.node
            if isinstance(action, WatchIdle):
                assert name not in [sleeper for sleeper, _ in self.sleepers], "two look at one idle time"
                self.sleepers.append((name, self.clock.now()))
                continue
            if isinstance(action, CallOff):
                assert self.core.nodes[name].state is PoolState.STOPPING
                assert self.core.nodes[name].assigned
                self.to_stay.add(name)
                continue
            self.to_stay.discard(name)
            before = self.work.get(name)
            if isinstance(action, Boot):
                assert not self.known_on[name], "a boot for a node that has power"
                assert before is None or not isinstance(before.action, Boot) or before.powered
                assert name not in self.quarantined
                assert self.silent[name] < self.core.settings.boot_attempts
            elif isinstance(action, CutPower):
                self._check_rest(action)
            elif isinstance(action, BackOff):
                held = any(c.holds and c.pooled_node is self.core.nodes[name] for c in self.clients)
                if name in self.quarantined:
                    left = max(0.0, self.quarantined[name] - self.clock.now())
                    again = before is not None and before.cut_failed  # its power is cut again after this
                    assert action.seconds == left or (again and not action.cut and action.seconds < left)
                    assert action.cut is not held or again
                else:
                    assert action.cut is not held
                    assert 4.0 <= action.seconds <= 64.0
            self.work[name] = Work(action, self.clock.now())

    def _check_rest(self, action: CutPower) -> None:
        name = action.node
        member = self.core.nodes[name]
        assert not [c for c in self.clients if c.pooled_node is member and (c.holds or c.waits)]
        if action.reason == "idle":
            now, core = self.clock.now(), self.core
            assert now >= self.last_active[name] + core.settings.idle_timeout
            assert now >= self.on_since[name] + core.settings.min_on_time

    def _lost(self, name: str) -> None:
        self.known_on[name] = False

    # Clients ------------------------------------------------------------------------------------------------

    @rule(
        wanted=st.sampled_from([None, None, None, *NODES]),
        key=st.sampled_from([None, "a", "b"]),
        passive=st.sampled_from([False, False, False, False, True]),
        exclude=st.sampled_from([None] * 6 + [{"p1"}, {"p1", "p2"}, set(NODES)]),
        count=st.sampled_from([1, 1, 2, 4]),
    )
    def come(
        self, wanted: str | None, key: str | None, passive: bool, exclude: set[str] | None, count: int
    ) -> None:
        for _ in range(count):
            self._ask(wanted, key, passive, exclude)

    def _ask(self, wanted: str | None, key: str | None, passive: bool, exclude: set[str] | None) -> None:
        client = Client(self, wanted, key, passive)
        client.exclude = exclude
        waiting = self.core.waiting
        states = {name: member.state for name, member in self.core.nodes.items()}
        try:
            granted = self.core.ask(client)
        except PoolError as error:
            client.answers.append("refused")
            self._check_refusal(error, client, waiting, states)
        else:
            self.clients.append(client)
            assert not self.core.closed
            client.asked = True
            if granted:
                client.answer()
                assert client.pooled_node is not None
                assert client.pooled_node.name not in (exclude or ())
            else:
                assert not passive
                assert waiting < self.core.settings.queue
        self.take_actions()

    def _check_refusal(
        self, error: PoolError, client: Client, waiting: int, states: dict[str, PoolState]
    ) -> None:
        assert client.pooled_node is None
        assert not self.core.actions, "something is switched for one who was refused"
        if isinstance(error, PoolClosedError):
            assert self.core.closed
        elif isinstance(error, QueueFullError):
            assert waiting >= self.core.settings.queue
        elif isinstance(error, NotReadyError):
            assert client.passive
        else:
            assert isinstance(error, NoNodeError)
            asked = [client.wanted] if client.wanted else NODES
            if error.retry_after is None:
                assert self.core.settings.quarantine == math.inf
                assert self.quarantined
            left = [name for name in asked if name not in (client.exclude or ())]
            assert all(states[name] is PoolState.FAILED for name in left)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients), label="client")
        self._leave(client)
        self.clients.remove(client)

    def _leave(self, client: Client) -> None:
        if client.holds and not client.passive:
            assert client.pooled_node is not None
            self.last_active[client.pooled_node.name] = self.clock.now()
        client.gone = True
        self.core.release(client)
        self.core.release(client)  # may be called again
        self.take_actions()

    @rule(name=nodes)
    def something_moves(self, name: str) -> None:
        self.last_active[name] = self.clock.now()
        self.core.active(name)

    @rule(name=nodes)
    def a_lease_meets_a_failure(self, name: str) -> None:
        self.core.health_check(name)
        self.take_actions()

    @rule(name=nodes, on=st.booleans())
    def by_hand(self, name: str, on: bool) -> None:
        if on:
            able = self.core.nodes[name].state is PoolState.OFF or name in self.quarantined
            self._let_out_by_hand(name)
            assert self.core.wake(name) is (able and not self.core.closed)
        elif self.core.power_off(name):
            assert isinstance(self.core.actions[-1], CutPower)
        self.take_actions()

    @rule(name=nodes)
    def a_person_lets_one_out(self, name: str) -> None:
        able = name in self.quarantined
        self._let_out_by_hand(name)
        assert self.core.reinstate(name) is (able and not self.core.closed)
        self.take_actions()

    def _let_out_by_hand(self, name: str) -> None:
        if name not in self.quarantined or self.core.closed:
            return
        work = self.work[name]
        assert isinstance(work.action, BackOff)
        if work.action.cut and not work.cut and not work.cut_failed:
            self.to_be_let_out.add(name)
        else:
            self._let_out(name, 0)

    def _let_out(self, name: str, silent: int) -> None:
        self.quarantined.pop(name, None)
        self.to_be_let_out.discard(name)
        self.silent[name] = silent

    # What becomes of what was asked for ---------------------------------------------------------------------

    @rule(name=nodes, works=st.sampled_from([True, True, True, False]))
    def goes_on(self, name: str, works: bool) -> None:
        """The driver comes one step further for a node."""
        work = self.work.get(name)
        if work is not None:
            self._go_on(name, work, works=works)
            self.take_actions()

    @rule(works=st.sampled_from([True, True, True, False]), steps=st.sampled_from([1, 2, 2, 3]))
    def all_go_on(self, works: bool, steps: int) -> None:
        for _ in range(steps):
            for name in NODES:
                self.goes_on(name, works)

    def _go_on(self, name: str, work: Work, *, works: bool) -> None:
        action = work.action
        if isinstance(action, BackOff):
            self._recover(name, work, works=works)
            return
        if not works:
            del self.work[name]
            if isinstance(action, CutPower) and name in self.to_stay:
                self.last_active[name] = self.clock.now()
                self.core.called_off(name)
            elif isinstance(action, CutPower):
                self.core.power_off_failed(name, "it was to fail")
            else:
                self._fails(name, timed_out=isinstance(action, Check) or work.powered)
        elif isinstance(action, Boot) and not work.powered:
            work.powered = self.has_power[name] = self.known_on[name] = True
            self.on_since[name] = self.clock.now()
            self.core.powered(name)
        elif isinstance(action, CutPower):
            del self.work[name]
            self.has_power[name] = self.known_on[name] = False
            self.core.powered_off(name, action.reason)
        else:
            del self.work[name]
            if self.core.nodes[name].state in HAS_POWER and not self.has_power[name]:
                self._lost(name)
                self.core.lost(name)
            else:
                if isinstance(action, Check) and self.core.nodes[name].state in HAS_POWER:
                    self._found_on(name)  # as a check's look says first
                self._ready(name)

    def _fails(self, name: str, *, timed_out: bool) -> None:
        if timed_out and self.core.nodes[name].state is PoolState.BOOTING:
            self.silent[name] += 1
            if self.silent[name] == self.core.settings.boot_attempts:
                self.quarantined[name] = self.clock.now() + self.core.settings.quarantine
        self.core.failed(name, "it was to fail", timed_out=timed_out)

    def _found_on(self, name: str) -> None:
        if not self.known_on[name]:
            self.known_on[name] = True
            self.on_since[name] = self.clock.now()
        self.core.found_on(name)

    def _ready(self, name: str) -> None:
        if self.core.nodes[name].state in HAS_POWER:
            self.last_active[name] = self.clock.now()
            self.silent[name] = 0
        self.core.ready(name)

    def _recover(self, name: str, work: Work, *, works: bool) -> None:
        action = work.action
        assert isinstance(action, BackOff)
        if action.cut and not work.cut:
            if works:
                work.cut = True
                self.has_power[name] = self.known_on[name] = False
            else:
                work.cut_failed = True
            if name in self.to_be_let_out:
                self._let_out(name, 0)
            if works:
                self.core.powered_off(name, "failure")
                return
            self.core.power_off_failed(name, "it was to fail")
            if name in self.quarantined:
                return
        if action.seconds == math.inf and name not in self.quarantined:
            self.work.pop(name, None)  # a person has ended it
        elif self.clock.now() >= work.since + action.seconds:
            self.work.pop(name, None)
            if name in self.quarantined and self.clock.now() >= self.quarantined[name]:
                self._let_out(name, self.core.settings.boot_attempts - 1)
            self.core.back_off_over(name)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def idle_times_are_looked_at(self) -> None:
        for sleeper in list(self.sleepers):
            name, wake_at = sleeper
            if self.clock.now() >= wake_at:
                self.sleepers.remove(sleeper)
                if self.core.check_idle(name):
                    due_at = self.core.due_at(name)
                    assert self.clock.now() < due_at < math.inf
                    self.sleepers.append((name, due_at))
                self.take_actions()

    # The world outside --------------------------------------------------------------------------------------

    @rule(name=nodes, on=st.booleans())
    def another_program_switches(self, name: str, on: bool) -> None:
        self.has_power[name] = on

    @rule()
    def look(self) -> None:
        """As a pool looks at the lines now and then; what it is just switching itself is left alone."""
        for name, member in self.core.nodes.items():
            if self.has_power[name] and member.state is PoolState.OFF:
                self.known_on[name] = True
                self.on_since[name] = self.last_active[name] = self.clock.now()
                self.core.found_on(name)
            elif not self.has_power[name] and member.state in (*HAS_POWER, PoolState.READY):
                self._lost(name)
                self.core.lost(name)
            self.take_actions()

    @precondition(lambda self: len(self.clients) > 3)
    @rule(sure=st.integers(0, 9))
    def close(self, sure: int) -> None:
        if sure == 0:
            self.core.refuse_waiting()
            assert self.core.waiting == 0
            assert not [c for c in self.clients if c.waits]
            self.take_actions()

    # What holds ---------------------------------------------------------------------------------------------

    @invariant()
    def numbers_are_true(self) -> None:
        if not hasattr(self, "core"):
            return
        core = self.core
        assert not core.actions
        assert core.waiting == len([c for c in self.clients if c.waits])
        assert core.waiting <= core.settings.queue
        for name, member in core.nodes.items():
            held = [c for c in self.clients if c.holds and c.pooled_node is member]
            queued = [c for c in self.clients if c.waits and c.pooled_node is member]
            assert member.leases == len(held)
            assert list(member.assigned) == queued or set(member.assigned) == set(queued)
            assert member.in_flight <= core.settings.maxconn
            assert (member.powered_since is not None) is self.known_on[name]
            assert (member.failure is not None) or member.state is not PoolState.FAILED
            assert member.is_quarantined is (name in self.quarantined)
            assert member.failed_boots == self.silent[name]
            if member.is_quarantined:
                assert member.state is PoolState.FAILED
                assert member.retry_at == self.quarantined[name]
            if member.state is PoolState.READY:
                assert self.known_on[name]

    @invariant()
    def who_waits_waits_for_something(self) -> None:
        if not hasattr(self, "core"):
            return
        core = self.core
        for name, member in core.nodes.items():
            work = self.work.get(name)
            if member.state not in (PoolState.OFF, PoolState.READY):
                assert work is not None, f"nobody is at work on {member}"
            if member.state is PoolState.STOPPING:
                assert work is not None
                assert isinstance(work.action, CutPower)
            if name in self.quarantined and not member.leases and self.known_on[name]:
                assert work is not None
                assert isinstance(work.action, BackOff)
                assert work.action.cut or work.action.seconds <= LONGEST_BACK_OFF, "it keeps its power"
            if member.state is PoolState.READY and not member.in_flight and core.due_at(name) < math.inf:
                assert name in [sleeper for sleeper, _ in self.sleepers], "nobody looks at its idle time"
        for client in self.clients:
            if client.waits:
                self._check_waiting(client)

    def _check_waiting(self, client: Client) -> None:
        members = self.core.nodes
        if client.pooled_node is not None:
            assert client.pooled_node.state in (PoolState.QUEUED, *HAS_POWER, PoolState.STOPPING)
            return
        asked = [client.wanted] if client.wanted else NODES
        left = [members[name] for name in asked if name not in (client.exclude or ())]
        able = [member for member in left if member.state is not PoolState.FAILED]
        assert able, "it waits, and all that it may have failed"
        assert all(member.in_flight >= self.core.settings.maxconn for member in able)

    @invariant()
    def events_are_in_order(self) -> None:
        if not hasattr(self, "events"):
            return
        begun: dict[str, bool] = dict.fromkeys(NODES, False)
        before: PoolEvent | None = None
        for event in self.events:
            if isinstance(event, Quarantined):
                assert before == BootFailed(event.node, event.reason, event.retry_after)
                before = event
                continue
            before = event
            if isinstance(event, BootStarted):
                begun[event.node] = True
            elif isinstance(event, (BootFinished, BootFailed)):
                assert begun[event.node] or isinstance(event, BootFailed), "a boot ended that never began"
                begun[event.node] = False
            elif isinstance(event, PowerOffFailed):
                assert event.retry_after <= max(LONGEST_BACK_OFF, self.core.settings.quarantine)
            else:
                assert isinstance(event, PoweredOff)
                assert event.seconds >= 0.0

    def all_ends_well(self) -> None:
        """All boots work and all leases are given back: everybody has an answer, and the nodes go off."""
        for _ in range(ROUNDS_TO_END):
            for client in [c for c in self.clients if c.holds]:
                self._leave(client)
            if not self.work and not [c for c in self.clients if c.waits or c.holds]:
                break
            self.clock.advance(1.0)
            for name in NODES:
                if self.core.settings.quarantine == math.inf:
                    self.a_person_lets_one_out(name)
                self.goes_on(name, works=True)
            self.numbers_are_true()
            self.who_waits_waits_for_something()
        for_ever = self.quarantined if self.core.closed and self.core.settings.quarantine == math.inf else {}
        assert self.work.keys() == for_ever.keys()
        for client in self.clients:
            assert len(client.answers) == 1 or client.gone, client
        idle_timeout = self.core.settings.idle_timeout
        if idle_timeout < math.inf:
            for _ in range(3):
                self.clock.advance(idle_timeout + self.core.settings.min_on_time + LONGEST_BACK_OFF)
                self.idle_times_are_looked_at()
                self.all_go_on(works=True, steps=1)
            for name, member in self.core.nodes.items():
                assert member.state is (PoolState.FAILED if name in for_ever else PoolState.OFF)


def test_decisions_in_any_order() -> None:
    run_state_machine_as_test(DispatcherMachine, settings=SETTINGS)
