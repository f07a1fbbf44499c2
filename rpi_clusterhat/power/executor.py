"""What `Cluster` and `AsyncCluster` share: how a plan is begun, and how its steps are performed.

A step is performed without waiting: where it is too early for it, the answer is `Again`, and the shell lets
the time pass in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import ClusterHatError, PowerLostError, StuckLineError
from rpi_clusterhat.events import BoardSetUp, WaitingForRail
from rpi_clusterhat.hardware.backend import SupportsSetUp

from .inventory import Inventory
from .states import State, Trigger, has_power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from . import plans
    from .inventory import NodeEntry
    from .plans import Plan
    from .rail import Turn

__all__ = ["Again", "Executor", "Operation", "is_over"]


# By name, since what only looks at nodes should not pay for the import of what can be done with them.
_METHODS = {
    "Read": "_read",
    "SetUp": "_set_up",
    "Retry": "_retry",
    "Queue": "_queue",
    "TakeTurn": "_take_turn",
    "PowerUp": "_power_up",
    "Switch": "_switch",
    "Fail": "_fail",
    "Settle": "_settle",
}


def is_over(plan: Plan) -> bool:
    """Whether a plan has ended: what was raised is its last word then, else it is there to be thrown in."""
    return getattr(plan, "gi_frame", None) is None


class Again(Frozen):
    """An answer: let so many seconds pass, then perform the same step again."""

    seconds: float


class Operation:
    """One call of on, off, cycle …: its place on a rail and the nodes it waits for."""

    __slots__ = ("queued", "turn", "waited")

    def __init__(self) -> None:
        self.turn: Turn | None = None
        self.waited = False
        self.queued: set[str] = set()


class Executor(Inventory):
    """A ledger whose nodes can be switched. May be used from any thread."""

    # Beginning an operation -----------------------------------------------------------------------------

    def plan_on(self, nodes: Sequence[str]) -> Plan:
        from . import plans

        with self.lock:
            powered = self._begin(nodes, desired=True)
            return plans.switch_on(nodes, powered, failed=self._failed(nodes), unset=self._unset(nodes))

    def plan_off(self, nodes: Sequence[str]) -> Plan:
        from . import plans

        with self.lock:
            powered = self._begin(nodes, desired=False)
            queued = [n for n in nodes if self.entries[n].state is State.QUEUED]
            return plans.switch_off(
                nodes, powered, failed=self._failed(nodes), queued=queued, unset=self._unset(nodes)
            )

    def plan_cycle(self, nodes: Sequence[str], pause: float) -> Plan:
        from rpi_clusterhat import validate

        from . import plans

        validate.seconds("pause", pause)
        with self.lock:
            powered = self._begin(nodes, desired=True)
            return plans.cycle(nodes, powered, pause, failed=self._failed(nodes), unset=self._unset(nodes))

    def plan_init(self, found: list[int]) -> Plan:
        """Notes in ``found`` which boards have to be set up."""
        from . import plans

        with self.lock:
            self.refresh()
            found += self._unset(self.names)
            return plans.set_up(found)

    def plan_function(self, name: str, *, on: bool) -> Plan:
        from . import plans

        targets, unset = self._targets(name)
        return plans.switch(dict.fromkeys(targets, on), unset=unset)

    def plan_hub_reset(self, pause: float) -> Plan:
        from rpi_clusterhat import validate

        from . import plans

        validate.seconds("pause", pause)
        targets, unset = self._targets("hub")
        return plans.pulse_off(targets, pause, unset=unset)

    def _targets(self, name: str) -> tuple[list[str], list[int]]:
        """The function on each board that has it, and which of these boards have to be set up first."""
        indexes = self._having(name)
        with self.lock:
            for index in indexes:
                self.levels(index)
            unset = [i for i in indexes if self.banks[i].was_set_up is False]
        return [f"{name}@{i}" for i in indexes], unset

    def _begin(self, nodes: Sequence[str], *, desired: bool) -> dict[str, bool]:
        powered = self.refresh(nodes)
        for name in nodes:
            self.entries[name].desired = desired
        return powered

    def _failed(self, nodes: Iterable[str]) -> list[str]:
        return [n for n in nodes if self.entries[n].state is State.FAILED]

    def _unset(self, nodes: Iterable[str]) -> list[int]:
        return sorted({i for i in self._banks_of(nodes) if self.banks[i].was_set_up is False})

    # Performing steps -----------------------------------------------------------------------------------

    def perform(self, operation: Operation, step: plans.Step) -> Any:
        """Performs a step and returns its answer, or `Again`. Never waits for time to pass."""
        method: Callable[[Operation, Any], Any] = getattr(self, _METHODS[type(step).__name__])
        return method(operation, step)

    def _read(self, _: Operation, step: plans.Read) -> dict[str, bool]:
        return self.refresh(step.nodes)

    def _set_up(self, _: Operation, step: plans.SetUp) -> None:
        with self.lock:
            pins = self.levels(step.board)
            bank = self.banks[step.board]
            if bank.was_set_up is False and isinstance(bank.backend, SupportsSetUp):
                bank.backend.set_up(bank.board.first_levels(pins))
                self._outbox.append(BoardSetUp(step.board))
                self.levels(step.board, bank.names)

    def _retry(self, _: Operation, step: plans.Retry) -> None:
        with self.lock:
            for name in step.nodes:
                entry = self.entries[name]
                powered = entry.powered
                self._happen(entry, Trigger.FORGET, "request")
                if powered is not None:
                    self._happen(entry, Trigger.SEEN_ON if powered else Trigger.SEEN_OFF, "request")

    def _queue(self, operation: Operation, step: plans.Queue) -> None:
        with self.lock:
            for name in step.nodes:
                entry = self.entries[name]
                operation.queued.add(name)
                entry.waiting.add(operation)
                if entry.state is State.OFF:
                    self._happen(entry, Trigger.QUEUE, "request")

    def _leave_queue(self, operation: Operation, entry: NodeEntry) -> None:
        # Each line may be the one at which a Ctrl-C comes: `finish` then does it all again.
        if entry.name in operation.queued:
            entry.waiting.discard(operation)
            if entry.state is State.QUEUED and not entry.waiting:
                self._happen(entry, Trigger.CANCEL, "request")
            operation.queued.discard(entry.name)

    def _leave_rail(self, operation: Operation) -> None:
        turn, operation.turn = operation.turn, None
        operation.waited = False
        if turn is not None:
            turn.leave()

    def _take_turn(self, operation: Operation, step: plans.TakeTurn) -> Again | bool:
        entry = self.entries[step.node]
        bank = self.banks[entry.bank]
        if operation.turn is None:
            operation.turn = bank.rail.join()
        seconds = operation.turn.remaining()
        with self.lock:
            if not entry.desired:
                return True  # `_power_up` finds so too
            # While it waited, another program or another caller may have switched the node on.
            look = entry.powered or (operation.waited and seconds <= 0.0)
            if look and self.refresh((step.node,))[step.node]:
                self._leave_queue(operation, entry)
                self._leave_rail(operation)
                return False
            if seconds > 0.0 and not operation.waited:
                operation.waited = True
                self._outbox.append(WaitingForRail(step.node, operation.turn.expected()))
        return True if seconds <= 0.0 else Again(seconds)

    def _power_up(self, operation: Operation, step: plans.PowerUp) -> bool:
        entry = self.entries[step.node]
        bank = self.banks[entry.bank]
        turn = operation.turn
        assert turn is not None
        with self.lock:
            try:
                self._check_open()
                # Wanted again by now, perhaps, by another caller: who is not first leaves it to that one.
                if not entry.desired or turn.remaining() > 0.0:
                    return False
                if bank.was_set_up is False:
                    raise PowerLostError(
                        f"the expander of {step.node} lost power while it was being switched on"
                    )
                turn.begin()
                try:
                    bank.backend.write({entry.role.offset: entry.role.level(on=True)})
                finally:
                    turn.end()
                if not has_power(entry.state):
                    self._happen(entry, Trigger.POWER, "request")
                return True
            finally:
                self._leave_queue(operation, entry)
                self._leave_rail(operation)

    def _switch(self, _: Operation, step: plans.Switch) -> None:
        with self.lock:
            self._check_open()
            by_bank: dict[int, dict[int, bool]] = {}
            nodes: dict[int, list[NodeEntry]] = {}
            for target, on in step.levels.items():
                role_name, at, index_text = target.partition("@")
                if at:
                    index = int(index_text)
                    role = self.banks[index].board.functions[role_name]
                else:
                    entry = self.entries[target]
                    index, role = entry.bank, entry.role
                    nodes.setdefault(index, []).append(entry)
                by_bank.setdefault(index, {})[role.offset] = role.level(on=on)
            errors: list[ClusterHatError] = []
            for index, levels in by_bank.items():
                try:
                    self.banks[index].backend.write(levels)
                except ClusterHatError as error:  # one board's trouble leaves no node on another with power
                    errors.append(error)
                    continue
                for entry in nodes.get(index, ()):
                    self._happen(entry, Trigger.CUT, "request")
            if errors:
                raise min(errors, key=lambda error: isinstance(error, StuckLineError))

    def _fail(self, operation: Operation, step: plans.Fail) -> None:
        with self.lock:
            entry = self.entries[step.node]
            self._leave_queue(operation, entry)
            self._leave_rail(operation)
            self._happen(entry, Trigger.FAIL, "error")
            entry.failure = step.reason

    def finish(self, operation: Operation) -> None:
        """Gives up its turn and its nodes' places, where an interruption in between two steps left any."""
        if operation.turn is not None or operation.queued:
            with self.lock:
                self._leave_rail(operation)
                for name in [*operation.queued]:
                    self._leave_queue(operation, self.entries[name])

    def _settle(self, operation: Operation, step: plans.Settle) -> dict[str, bool | None]:
        with self.lock:
            self.finish(operation)
            for index in self._banks_of(step.nodes):
                try:
                    self.levels(index, step.nodes)
                except ClusterHatError:
                    pass  # the nodes are marked as unknown, which is the truth
            for name in step.nodes:
                entry = self.entries[name]
                if not entry.waiting:
                    entry.desired = entry.powered
            return {name: self.entries[name].powered for name in step.nodes}
