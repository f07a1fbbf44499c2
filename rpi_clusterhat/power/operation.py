"""How the steps of a plan are performed.

A step is performed without waiting: where it is too early for it, the answer is `Again`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import ClusterHatError, LockError, LockTimeoutError, PowerLostError, StuckLineError
from rpi_clusterhat.events import BoardSetUp, CutWithoutHalt, LineDriven, LockMissed, State, WaitingForRail
from rpi_clusterhat.waiting import Call, Pause, Readable, Sleep, Writable, is_over

from . import plans
from .states import Trigger, has_power

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from rpi_clusterhat.hardware.going_ahead import Missed
    from rpi_clusterhat.hardware.locks import Patience
    from rpi_clusterhat.waiting import Steps

    from .inventory import Inventory, NodeEntry
    from .rail import Turn

    _T = TypeVar("_T")

__all__ = ["Again", "Operation"]

_WAITS = (Sleep, Pause, Readable, Writable, Call)
_HALT_POLL = 0.05
_ELSEWHERE_MOST = 180.0
"""Seconds to wait at most for the halt of another process, which may be stopped: chosen, not measured."""


class Again(Frozen):
    """An answer: let so many seconds pass, then perform the same step again."""

    seconds: float


class Operation:
    """One call of on, off, cycle …, with its place on a rail and the nodes that it waits for.

    It performs the steps of its plan, which may happen in any thread. It belongs to whoever drives it.
    """

    __slots__ = ("_inventory", "_marks", "_patience", "halting", "queued", "turn", "waited")

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self.turn: Turn | None = None
        self.waited = False
        self.queued: set[str] = set()
        self.halting: set[str] = set()
        self._marks: dict[str, object] = {}
        """What tells other processes that it halts a node."""
        self._patience: Patience | None = None
        """How long it has waited for the halts of other processes."""

    def steps(self, plan: plans.Plan[_T]) -> Steps[_T]:
        """The plan as what `rpi_clusterhat.waiting` drives. Subscribers are told in the driver's thread."""
        deliver = self._inventory.deliver
        answer: Any = None
        error: BaseException | None = None
        try:
            while True:
                try:
                    while True:  # in the try itself: no line between two steps is outside of it
                        step = plan.send(answer) if error is None else plan.throw(error)
                        answer = error = None
                        if isinstance(step, _WAITS):
                            answer = yield step
                            continue
                        call = Call(partial(self.perform, step), True)
                        while isinstance(answer := (yield call), Again):
                            deliver()
                            yield Sleep(answer.seconds)
                        deliver()
                except BaseException as caught:
                    if not is_over(plan):
                        error = caught
                    elif isinstance(caught, StopIteration):
                        result: _T = caught.value
                        return result
                    else:
                        raise
        finally:
            error = None  # else it and this frame would keep each other
            self.finish()
            deliver()

    def perform(self, step: plans.Step) -> Any:
        """Performs a step and returns its answer, or `Again`. Never waits for time to pass."""
        return self._METHODS[type(step)](self, step)

    def finish(self) -> None:
        """Gives up its turn and its nodes' places, where an interruption between two steps left any."""
        self._leave_rail()
        for name in [*self.queued]:
            self._leave_queue(self._inventory.entries[name])
        for name in [*self.halting]:
            self._leave_halt(self._inventory.entries[name])

    # Reading ----------------------------------------------------------------------------------------------

    def _read(self, step: plans.Read) -> plans.Seen:
        inventory = self._inventory
        powered: dict[str, bool] = {}
        in_state: dict[State, list[str]] = {State.FAILED: [], State.QUEUED: [], State.STOPPING: []}
        undriven: list[str] = []
        before: list[tuple[NodeEntry, bool | None]] = []
        boards = inventory.by_board(step.nodes)
        try:
            for index, entries in boards.items():
                with inventory.banks[index].lock:
                    levels = inventory.levels(index)
                    for entry in entries:
                        powered[entry.name] = entry.role.is_on(levels)
                        if entry.state in in_state:
                            in_state[entry.state].append(entry.name)
                        # What another process halts has power, and is about to lose it.
                        wanted = step.desired and powered[entry.name] and entry.state is not State.STOPPING
                        if wanted and self._is_halted_elsewhere(entry):
                            in_state[State.STOPPING].append(entry.name)
                        if entry.driven is False:
                            undriven.append(entry.name)
                        if step.desired is not None:
                            before.append((entry, entry.desired))
                            entry.desired, entry.asked_by = step.desired, self
        except BaseException:
            for entry, desired in before:  # nothing was begun
                with entry.bank.lock:
                    if entry.asked_by is self:  # nobody else has asked since
                        entry.desired = desired
            raise
        return plans.Seen(
            powered,
            tuple(in_state[State.FAILED]),
            tuple(in_state[State.QUEUED]),
            inventory.unset(boards),
            tuple(undriven),
            tuple(in_state[State.STOPPING]),
        )

    def _read_function(self, step: plans.ReadFunction) -> plans.Boards:
        inventory = self._inventory
        indexes = inventory.having(step.name)
        for index in indexes:
            inventory.levels(index)
        return plans.Boards(indexes, inventory.unset(indexes))

    def _settle(self, step: plans.Settle) -> Mapping[str, bool | None]:
        inventory = self._inventory
        self.finish()
        for index in inventory.by_board(step.nodes):
            try:
                inventory.levels(index, step.nodes)
            except ClusterHatError:
                pass  # the nodes are marked as unknown, which is the truth
        powered: dict[str, bool | None] = {}
        for name in step.nodes:
            entry = inventory.entries[name]
            with entry.bank.lock:
                powered[name] = entry.powered
                if not entry.waiting and entry.asked_by is self:
                    entry.desired = entry.powered
        return powered

    # Boards -----------------------------------------------------------------------------------------------

    def _set_up(self, step: plans.SetUp) -> None:
        inventory = self._inventory
        bank = inventory.banks[step.board]
        with bank.lock:
            pins = inventory.levels(step.board)
            if bank.was_set_up is False:
                missed: Missed = [] if step.unlocked else None
                bank.set_up(bank.board.first_levels(pins), missed)
                self._tell(step.board, missed)
                inventory.announce(BoardSetUp(step.board))
                inventory.levels(step.board, bank.names)

    def _tell(self, board: int, missed: Sequence[Exception] | None) -> None:
        for error in missed or ():
            self._inventory.announce(LockMissed(board, str(error)))

    def _set_function(self, step: plans.SetFunction) -> None:
        errors: list[ClusterHatError] = []
        for index in step.boards:
            bank = self._inventory.banks[index]
            role = bank.board.functions[step.name]
            with bank.lock:
                self._inventory.check_open()
                try:
                    bank.write({role.offset: role.level(on=step.on)})
                except ClusterHatError as error:  # one board's trouble keeps no other from being switched
                    errors.append(error)
        _raise_worst(errors)

    # Nodes ------------------------------------------------------------------------------------------------

    def _retry(self, step: plans.Retry) -> None:
        for name in step.nodes:
            entry = self._inventory.entries[name]
            with entry.bank.lock:
                powered = entry.powered
                self._inventory.apply(entry, Trigger.FORGET, "request")
                if powered is not None:
                    self._inventory.apply(entry, Trigger.SEEN_ON if powered else Trigger.SEEN_OFF, "request")

    def _queue(self, step: plans.Queue) -> None:
        for name in step.nodes:
            entry = self._inventory.entries[name]
            with entry.bank.lock:
                self.queued.add(name)
                entry.waiting.add(self)
                if entry.state is State.OFF:
                    self._inventory.apply(entry, Trigger.QUEUE, "request")

    def _leave_queue(self, entry: NodeEntry) -> None:
        # Each line may be the one at which a Ctrl-C comes: `finish` then does it all again.
        if entry.name in self.queued:
            with entry.bank.lock:
                entry.waiting.discard(self)
                if entry.state is State.QUEUED and not entry.waiting:
                    self._inventory.apply(entry, Trigger.CANCEL, "request")
                self.queued.discard(entry.name)

    def _leave_rail(self) -> None:
        turn, self.turn = self.turn, None
        self.waited = False
        if turn is not None:
            turn.leave()

    def _secure(self, step: plans.Secure) -> None:
        for index in self._inventory.by_board(step.nodes):
            self._inventory.banks[index].rail.join().leave()

    def _take_turn(self, step: plans.TakeTurn) -> Again | bool:
        inventory = self._inventory
        entry = inventory.entries[step.node]
        if self.turn is None:
            if self._is_halted_elsewhere(entry):  # whoever halts it cuts its power at the end
                return Again(_HALT_POLL)
            self.turn = entry.bank.rail.join()
        seconds = self.turn.remaining()
        with entry.bank.lock:
            if not entry.desired:
                return True  # `_switch_on` finds so too
            # While it waited, another program or another caller may have switched the node on.
            look = (entry.powered and entry.driven) or (self.waited and seconds <= 0.0)
            if look and inventory.refresh((step.node,))[step.node] and entry.driven:
                self._leave_queue(entry)
                self._leave_rail()
                return False
            if seconds > 0.0 and not self.waited:
                self.waited = True
                inventory.announce(WaitingForRail(step.node, self.turn.expected()))
        return True if seconds <= 0.0 else Again(seconds)

    def _switch_on(self, step: plans.SwitchOn) -> bool:
        inventory = self._inventory
        entry = inventory.entries[step.node]
        bank = entry.bank
        turn = self.turn
        assert turn is not None
        with bank.lock:
            try:
                inventory.check_open()
                # Wanted again by now, perhaps, by another caller: who is not first leaves it to that one.
                if not entry.desired or turn.remaining() > 0.0:
                    return False
                if bank.was_set_up is False:
                    raise PowerLostError(
                        f"the expander of {step.node} lost power while the node was being switched on"
                    )
                turn.begin()
                try:
                    bank.write({entry.role.offset: entry.role.level(on=True)})
                finally:
                    turn.end()
                if not has_power(entry.state):
                    inventory.apply(entry, Trigger.POWER, "request")
                elif not entry.driven:
                    inventory.announce(LineDriven(step.node, on=True))
                entry.driven = True
                return True
            finally:
                self._leave_queue(entry)
                self._leave_rail()

    def _cut(self, step: plans.Cut) -> None:
        inventory = self._inventory
        errors: list[ClusterHatError] = []
        for index, entries in inventory.by_board(step.nodes).items():
            bank = inventory.banks[index]
            with bank.lock:
                inventory.check_open()
                missed: Missed = [] if step.unlocked else None
                try:
                    bank.write({e.role.offset: e.role.level(on=False) for e in entries}, missed)
                except ClusterHatError as error:  # one board's trouble leaves no node on another with power
                    errors.append(error)
                    continue
                finally:
                    self._tell(index, missed)
                for entry in entries:
                    if entry.name in step.unhalted and has_power(entry.state):
                        inventory.announce(CutWithoutHalt(entry.name, "its power was to be cut at once"))
                    if entry.state is State.OFF and not entry.driven:
                        inventory.announce(LineDriven(entry.name, on=False))
                    inventory.apply(entry, Trigger.CUT, "request")
                    entry.driven = True
        _raise_worst(errors)

    # Halting ----------------------------------------------------------------------------------------------

    def _begin_halt(self, step: plans.BeginHalt) -> bool:
        entry = self._inventory.entries[step.node]
        with entry.bank.lock:
            if entry.halting is not None:
                return False
            self.halting.add(step.node)
            if not self._mark_halt(entry):
                self.halting.discard(step.node)
                return False
            entry.halting = self
            if entry.state in (State.ON, State.READY):
                self._inventory.apply(entry, Trigger.STOP, "request")
            return True

    def _end_halt(self, step: plans.EndHalt) -> bool:
        entry = self._inventory.entries[step.node]
        with entry.bank.lock:
            return entry.halting is self

    def _leave_halt(self, entry: NodeEntry) -> None:
        with entry.bank.lock:
            if entry.halting is self:
                if entry.state is State.STOPPING and not entry.was_asked_to_halt:
                    self._inventory.apply(entry, Trigger.CANCEL, "request")
                entry.halting = None
            self._marks.pop(entry.name, None)
            self.halting.discard(entry.name)

    def _mark_halt(self, entry: NodeEntry) -> bool:
        try:
            mark = entry.bank.rail.mark_halt(entry.role.offset)
        except (LockError, LockTimeoutError):
            return True  # no broken lock keeps a node from being switched off
        if mark is None:
            return self._has_waited_for_others()
        self._marks[entry.name] = mark
        return True

    def _is_halted_elsewhere(self, entry: NodeEntry) -> bool:
        try:
            if not entry.bank.rail.is_halted_elsewhere(entry.role.offset):
                return False
        except (LockError, LockTimeoutError):
            return False  # the rail's turn says so
        return not self._has_waited_for_others()

    def _has_waited_for_others(self) -> bool:
        """Whether it has waited for the halts of other processes for so long that it goes ahead."""
        if self._patience is None:
            from rpi_clusterhat.hardware.locks import Patience

            self._patience = Patience(self._inventory.clock)
        return self._patience.waited() > _ELSEWHERE_MOST

    def _await_halt(self, step: plans.AwaitHalt) -> Again | bool:
        entry = self._inventory.entries[step.node]
        with entry.bank.lock:
            if entry.halting is not None or self._is_halted_elsewhere(entry):
                return Again(_HALT_POLL)
            return entry.was_asked_to_halt

    def _fail(self, step: plans.Fail) -> None:
        entry = self._inventory.entries[step.node]
        with entry.bank.lock:
            self._leave_queue(entry)
            self._leave_rail()
            self._inventory.apply(entry, Trigger.FAIL, "error")
            entry.failure = step.reason

    _METHODS: ClassVar[dict[type[plans.Step], Callable[[Operation, Any], Any]]] = {
        plans.Read: _read,
        plans.ReadFunction: _read_function,
        plans.SetUp: _set_up,
        plans.Retry: _retry,
        plans.Queue: _queue,
        plans.Secure: _secure,
        plans.TakeTurn: _take_turn,
        plans.SwitchOn: _switch_on,
        plans.Cut: _cut,
        plans.BeginHalt: _begin_halt,
        plans.EndHalt: _end_halt,
        plans.AwaitHalt: _await_halt,
        plans.SetFunction: _set_function,
        plans.Fail: _fail,
        plans.Settle: _settle,
    }


def _raise_worst(errors: list[ClusterHatError]) -> None:
    if errors:
        raise min(errors, key=lambda error: isinstance(error, StuckLineError))
