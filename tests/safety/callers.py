"""Operations that are driven by hand, step by step, so that several run at once and in a known order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.power.operation import Again, Operation
from rpi_clusterhat.waiting import Sleep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rpi_clusterhat.hardware.turnstile import Ticket, Turnstile
    from rpi_clusterhat.power import plans
    from rpi_clusterhat.power.inventory import Inventory

__all__ = ["Caller", "Watched"]


class Watched:
    """A turnstile that sees to it that only who came first acts on the record."""

    def __init__(self, turnstile: Turnstile, violations: list[str], line: list[WatchedTicket]) -> None:
        self._turnstile = turnstile
        self._violations = violations
        self.line = line
        """Those in the queue, of all programs, in the order in which they joined."""

    def join(self) -> Ticket:
        ticket = WatchedTicket(self._turnstile.join(), self.line, self._violations)
        self.line.append(ticket)
        return ticket


class WatchedTicket:
    def __init__(self, ticket: Ticket, line: list[WatchedTicket], violations: list[str]) -> None:
        self._ticket = ticket
        self._line = line
        self._violations = violations

    def is_first(self) -> bool:
        first = self._ticket.is_first()
        if first is not (self._line[0] is self):
            self._violations.append(f"a ticket says first={first} and stands at {self._line.index(self)}")
        return first

    def load(self) -> bytes:
        return self._ticket.load()

    def store(self, record: bytes) -> None:
        if self not in self._line:
            self._ticket.store(record)  # of a program that was killed: must fail
            self._violations.append("a ticket that is gone stored a record")
            return
        if self._line[0] is not self:
            self._violations.append(f"a ticket at {self._line.index(self)} stored a record")
        self._ticket.store(record)

    def close(self) -> None:
        self._ticket.close()
        if self in self._line:
            self._line.remove(self)

    def die(self) -> None:
        """What the kernel does with the ticket of a program that was killed."""
        vars(self._ticket)["_file"].close()
        self._line.remove(self)


class Caller:
    """One call of on, off …, as the shells drive it: see `rpi_clusterhat.power.operation`."""

    def __init__(self, inventory: Inventory, what: str, nodes: Sequence[str], plan: plans.Plan[Any]) -> None:
        self.inventory = inventory
        self.what = what
        self.nodes = tuple(nodes)
        self.operation = Operation(inventory)
        self.done = False
        self.error: BaseException | None = None
        self.wake_at: float | None = None
        self.disturbed = False
        """Whether somebody else may have changed what this one brings about."""
        self._answer: Any = None
        self._thrown: BaseException | None = None
        self._step: plans.Step | None = None
        self._started = False
        self._instead: BaseException | None = None
        self._plan = plan

    def __repr__(self) -> str:
        return f"<{self.what} {' '.join(self.nodes)}: {self._step or self.error or 'done'}>"

    def step(self) -> None:
        """Performs one step, when its time has come."""
        if self.done:
            return
        if self.wake_at is not None:
            self.inventory.clock.sleep(self.wake_at - self.inventory.clock.now())
        if self._step is None and not self._advance():
            return
        self._perform()
        self.inventory.deliver()

    def cancel(self, error: BaseException, *, after_next: bool) -> None:
        """A Ctrl-C or a cancelled task: where it is now, or when its next step has been performed."""
        if self.done:
            return
        if after_next:
            self._instead = error
        elif not self._started:
            self._end(error)  # a plan that has not begun is dropped
        else:
            self._throw(error)

    def _advance(self) -> bool:
        answer, thrown, self._answer, self._thrown = self._answer, self._thrown, None, None
        self._started = True
        try:
            self._step = self._plan.send(answer) if thrown is None else self._plan.throw(thrown)
        except StopIteration:
            self._end(None)
            return False
        except BaseException as error:  # noqa: BLE001
            self._end(error)
            return False
        return True

    def _perform(self) -> None:
        step = self._step
        assert step is not None
        try:
            if isinstance(step, Sleep):
                if self.wake_at is None:
                    self.wake_at = self.inventory.clock.now() + step.seconds
                    return
                answer = None
            else:
                answer = self.operation.perform(step)
        except BaseException as error:  # noqa: BLE001
            self._throw(error)
            return
        instead, self._instead = self._instead, None
        if instead is not None:
            self._throw(instead)
        elif isinstance(answer, Again):
            self.wake_at = self.inventory.clock.now() + answer.seconds
        else:
            self.wake_at = None
            self._answer = answer
            self._step = None

    def _throw(self, error: BaseException) -> None:
        self._thrown = error
        self._step = None
        self.wake_at = None

    def _end(self, error: BaseException | None) -> None:
        self.done = True
        self.error = error
        self.inventory.deliver()
