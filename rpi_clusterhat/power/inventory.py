"""What is known of each node, and who is told when it changes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rpi_clusterhat import validate
from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.errors import ClosedError, LevelsNotHeldError, UnsupportedError
from rpi_clusterhat.events import LinesAltered, PowerLost, StateChanged

from .states import State, Trigger, after

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.events import Event
    from rpi_clusterhat.hardware.boards import Role

    from .bank import Bank

__all__ = ["Inventory", "NodeEntry"]

_FUNCTIONS = {
    "alert": "ALERT LED",
    "led": "LED control",
    "hub": "USB hub control",
    "wp": "EEPROM write protection",
}


class NodeEntry:
    """What is known of a node. Guarded by its bank's lock."""

    __slots__ = (
        "asked_by",
        "bank",
        "desired",
        "driven",
        "failure",
        "halting",
        "name",
        "power_ups",
        "powered",
        "role",
        "seen",
        "state",
        "waiting",
        "was_asked_to_halt",
    )

    def __init__(self, name: str, bank: Bank, role: Role) -> None:
        self.name = name
        self.bank = bank
        self.role = role
        self.state = State.UNKNOWN
        self.powered: bool | None = None
        """As last observed."""
        self.power_ups = 0
        """How often it was seen to get power."""
        self.driven: bool | None = None
        """Whether its line was an output when it was last read; None before that."""
        self.desired: bool | None = None
        """As last asked for; None where nobody has asked, or has withdrawn."""
        self.asked_by: object | None = None
        """The operation that asked for that."""
        self.failure: str | None = None
        self.seen = False
        self.waiting: set[object] = set()
        """The operations that wait to switch it on."""
        self.halting: object | None = None
        """The operation that halts it."""
        self.was_asked_to_halt = False
        """Whether its system may have been told to halt, so that it does not stay up by itself."""

    @property
    def is_to_halt(self) -> bool:
        """Whether it is being halted, or was told to halt and left like that."""
        return self.halting is not None or self.was_asked_to_halt


class Inventory:
    """The boards of a cluster, open, and an entry for each of their nodes. May be used from any thread.

    Each board has a lock of its own, `Bank.lock`: held while a step is performed on it and while it is read,
    with all tries of a transfer; never while a node waits for the rail or a plan sleeps.
    """

    def __init__(self, banks: Sequence[Bank], clock: Clock) -> None:
        self.banks = list(banks)
        self.clock = clock
        self.entries: dict[str, NodeEntry] = {}
        self._by_board: list[list[NodeEntry]] = []
        self._board_of: dict[str, int] = {}
        for index, bank in enumerate(self.banks):
            entries = [
                NodeEntry(name, bank, role) for name, role in zip(bank.names, bank.board.power, strict=False)
            ]
            self._by_board.append(entries)
            for entry in entries:
                self.entries[entry.name] = entry
                self._board_of[entry.name] = index
        self.names = list(self.entries)
        self._closed = False
        self._outbox: deque[Event] = deque()
        self._subscribers: list[Callable[[Event], object]] = []
        after_fork(self, Inventory._leave_to_the_parent)

    def _leave_to_the_parent(self) -> None:
        """In a forked child no operation is under way: those that were are the parent's."""
        for entry in self.entries.values():
            entry.waiting.clear()
            entry.asked_by = entry.halting = None
            if entry.state is State.QUEUED:
                entry.state = after(entry.state, Trigger.CANCEL)
        self._outbox.clear()

    def by_board(self, nodes: Iterable[str]) -> dict[int, list[NodeEntry]]:
        """The entries of these nodes, by the index of their board."""
        found: dict[int, list[NodeEntry]] = {}
        for name in nodes:
            found.setdefault(self._board_of[name], []).append(self.entries[name])
        return found

    def having(self, function: str) -> tuple[int, ...]:
        """The indexes of the boards that have this function. Raises `UnsupportedError` where none has."""
        indexes = tuple(i for i, bank in enumerate(self.banks) if function in bank.board.functions)
        if not indexes:
            versions = ", ".join(sorted({bank.board.version for bank in self.banks}))
            raise UnsupportedError(f"a Cluster HAT {versions} has no {_FUNCTIONS[function]}")
        return indexes

    def unset(self, boards: Iterable[int]) -> tuple[int, ...]:
        """Those of these boards that nobody had set up when they were last read."""
        return tuple(sorted(i for i in boards if self.banks[i].was_set_up is False))

    def function(self, name: str) -> bool:
        """Whether a function is on, on all boards that have it, read now."""
        return all(self.banks[i].board.functions[name].is_on(self.levels(i)) for i in self.having(name))

    # Observing ------------------------------------------------------------------------------------------

    def refresh(self, nodes: Iterable[str] | None = None) -> dict[str, bool]:
        """Reads boards and takes over what it finds.

        Args:
            nodes: The nodes whose boards are read; None for all.

        Returns:
            Which of these nodes have power, by name.
        """
        powered: dict[str, bool] = {}
        for index, entries in self.by_board(self.names if nodes is None else nodes).items():
            levels = self.levels(index)
            powered.update((entry.name, entry.role.is_on(levels)) for entry in entries)
        return powered

    def levels(self, index: int, requested: Collection[str] = ()) -> Mapping[int, bool]:
        """Reads one board and takes over what it finds.

        Args:
            index: The board, counted from 0.
            requested: Nodes whose changes are this cluster's doing.

        Returns:
            The board's levels by offset.
        """
        bank = self.banks[index]
        with bank.lock:
            self.check_open()
            try:
                levels = bank.read()
            except BaseException:
                for entry in self._by_board[index]:
                    if entry.state is State.FAILED:  # a failure is kept until the node is switched again
                        entry.powered = None
                    else:
                        self.apply(entry, Trigger.FORGET, "error")
                raise
            inputs = bank.inputs()
            lost = self._lost_power(index)
            for entry in self._by_board[index]:
                entry.driven = entry.role.offset not in inputs
                on = entry.role.is_on(levels)
                cause = "power lost" if lost else "request" if entry.name in requested else "outside"
                self.apply(entry, Trigger.SEEN_ON if on else Trigger.SEEN_OFF, cause)
            if altered := bank.look_for_alterations(levels):
                on_now, off_now = (tuple(n for n in altered if altered[n] is on) for on in (True, False))
                self.announce(LinesAltered(index, on_now, off_now))
            return levels

    def _lost_power(self, index: int) -> bool:
        bank = self.banks[index]
        if bank.expander is None:
            return False
        was_set_up, bank.was_set_up = bank.was_set_up, bank.expander.is_set_up
        if not was_set_up or bank.was_set_up:
            return False
        self.announce(PowerLost(index))
        return True

    def apply(self, entry: NodeEntry, trigger: Trigger, cause: str) -> None:
        """Moves a node to the state that follows; the bank's lock is held. Raises `TransitionError`."""
        old = entry.state
        new = after(old, trigger)
        if new is State.OFF and trigger is Trigger.SEEN_OFF and entry.waiting:
            new = after(new, Trigger.QUEUE)  # it was forgotten for a moment, and waits all the same
        elif (
            new is State.ON and trigger is Trigger.SEEN_ON and entry.is_to_halt and entry.powered is not False
        ):
            new = after(new, Trigger.STOP)  # as well
        if trigger is Trigger.SEEN_ON or trigger is Trigger.POWER:
            if entry.powered is False:
                entry.power_ups += 1
            entry.powered = True
        elif trigger is Trigger.SEEN_OFF or trigger is Trigger.CUT:
            entry.powered = False
            entry.halting, entry.was_asked_to_halt = None, False
        elif trigger is Trigger.CANCEL:
            entry.was_asked_to_halt = False
        elif trigger is Trigger.FORGET:
            entry.powered = None
        if new is not old:
            entry.state = new
            if old is State.FAILED:
                entry.failure = None
            if entry.seen:  # the first look is no change
                self.announce(StateChanged(entry.name, old, new, cause))
        entry.seen = True

    def report_probe(self, name: str, *, up: bool, power_ups: int | None = None) -> bool:
        """Takes over what a probe of a node said; False where that is of an earlier boot.

        ``power_ups`` is what `NodeEntry.power_ups` was when the probe began.
        """
        validate.flag("up", up)
        entry = self.entries[name]
        with entry.bank.lock:
            if power_ups is not None and power_ups != entry.power_ups:
                return False
            if entry.state is (State.ON if up else State.READY):
                self.apply(entry, Trigger.ANSWER if up else Trigger.SILENCE, "probe")
            return True

    def report_halt(self, name: str, *, under_way: bool) -> None:
        """Takes over that a node was asked to halt, or that its halt was called off."""
        validate.flag("under_way", under_way)
        entry = self.entries[name]
        with entry.bank.lock:
            if under_way and entry.state in (State.ON, State.READY):
                self.apply(entry, Trigger.STOP, "request")
            elif not under_way and entry.state is State.STOPPING:
                self.apply(entry, Trigger.CANCEL, "request")

    def call_off_halt(self, name: str) -> bool:
        """Has a node that is being halted stay on, if it was not asked yet. Whether it stays on."""
        entry = self.entries[name]
        if entry.halting is None:
            return not entry.was_asked_to_halt  # by a halt that was left half way
        if entry.state is not State.STOPPING:
            return True
        # In this order: who halts it notes that it is asked before it looks here. No lock: an event loop must
        # not wait for a transfer.
        entry.desired = True
        entry.asked_by = None
        return not entry.was_asked_to_halt

    # Events ---------------------------------------------------------------------------------------------

    def subscribe(self, callback: Callable[[Event], object]) -> Callable[[], None]:
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def announce(self, event: Event) -> None:
        """Keeps an event for the next `deliver`."""
        self._outbox.append(event)

    def deliver(self) -> None:
        """Tells the subscribers what happened, in the calling thread.

        It takes no lock, since an event loop must not wait here for a worker thread's transfer.
        """
        while self._outbox:
            try:
                event = self._outbox.popleft()
            except IndexError:  # another thread was faster
                return
            for subscriber in list(self._subscribers):
                try:
                    subscriber(event)
                except Exception:
                    # A subscriber's mistake must not leave a node half switched.
                    import logging

                    logging.getLogger("rpi_clusterhat").exception("a subscriber failed on %s", event)
            if isinstance(event, LinesAltered):
                _log_altered(event)

    # The end --------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raises `ClosedError` once this is closed."""
        if self._closed:
            raise ClosedError("this cluster is closed: open a new one")

    def close(self) -> None:
        """Gives all lines back, and takes over what lines that do not keep their levels show then.

        Raises the first of the backends' errors, after all are closed; `LevelsNotHeldError` where something
        that was switched off is on again.
        """
        self._closed = True
        errors: list[Exception] = []
        for index, bank in enumerate(self.banks):
            with bank.lock:
                if bank.closed:
                    continue
                try:
                    holds = bank.backend.holds_levels
                    left = bank.close()
                    if not holds:
                        self._take_left(index, left)
                        bank.check_off(left or {})
                except Exception as error:  # noqa: BLE001 - a stranger's may raise anything, and the others are open
                    errors.append(error)
        if errors:
            raise min(errors, key=lambda error: isinstance(error, LevelsNotHeldError))

    def _take_left(self, index: int, left: Mapping[int, bool] | None) -> None:
        """Takes over the levels of lines that were given back, as far as they could be read."""
        written = self.banks[index].written
        for entry in self._by_board[index]:
            offset = entry.role.offset
            entry.driven = False
            if left is not None and offset in left:
                on = entry.role.is_on(left)
                self.apply(entry, Trigger.SEEN_ON if on else Trigger.SEEN_OFF, "request")
            elif (left is None or offset in written) and entry.state is not State.FAILED:
                self.apply(entry, Trigger.FORGET, "request")


def _log_altered(event: LinesAltered) -> None:
    import logging

    lines = [f"{name} (on)" for name in event.on] + [f"{name} (off)" for name in event.off]
    logging.getLogger("rpi_clusterhat").warning(
        "board %s: something else has changed %s since this library last switched it",
        event.board,
        ", ".join(lines),
    )
