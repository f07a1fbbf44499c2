"""When the next node may be switched on.

Nodes that share a supply must not be switched on too close together, or all of them reboot. So there is
one turnstile for each rail, and in it the time of the last power-up. Only who is first may switch a node
on, and only when the spacing has passed.

The entry says ``pending`` from before the line is written until after it was. Who finds it pending knows
that a program died in between, at an unknown moment but before now, and waits a whole spacing from now.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import LockTimeoutError
from rpi_clusterhat.hardware.locks import Patience

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.lock_files import SharedFile
    from rpi_clusterhat.hardware.turnstile import Ticket, Turnstile

__all__ = ["PowerUp", "Rail", "Turn", "earliest"]

_POLL_MAX, _POLL_MIN = 0.05, 0.001
_PATIENCE = 60.0


class PowerUp(Frozen):
    """The last power-up of a rail: when, in the shared clock's seconds, and whether it was seen through."""

    at: float
    pending: bool

    def encode(self) -> bytes:
        return b"%.6f %s" % (self.at, b"pending" if self.pending else b"done")

    @classmethod
    def decode(cls, entry: bytes) -> PowerUp | None:
        """None where nobody has switched a node on yet; what cannot be read counts as pending."""
        entry = entry.rstrip(b" \0")
        if not entry:
            return None
        at, _, word = entry.partition(b" ")
        try:
            return cls(float(at), word != b"done")
        except ValueError:
            return cls(0.0, pending=True)


def earliest(last: PowerUp | None, now: float, spacing: float) -> float:
    """When the next node may be switched on, in the shared clock's seconds.

    A power-up that was not seen through, or that lies in the future (an entry from before a reboot, a
    damaged one), counts as one that happened now.
    """
    if last is None:
        return now
    if last.pending or not 0.0 <= last.at <= now:
        return now + spacing
    return last.at + spacing


class Rail:
    """One shared supply. May be used from any thread; a `Turn` belongs to one thread or task at a time."""

    def __init__(self, turnstile: Turnstile, clock: Clock, spacing: float) -> None:
        self.spacing = spacing
        self._turnstile = turnstile
        self._clock = clock
        self._renew()
        after_fork(self, Rail._renew)

    def _renew(self) -> None:
        """In a forked child no node is halted: those that are, are the parent's."""
        self._lock = threading.Lock()
        # As a kernel's lock ends with its file, a mark ends with its operation.
        self._marks: weakref.WeakValueDictionary[int, SharedFile] = weakref.WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Rail {self._turnstile!r} spacing={self.spacing:g}>"

    def join(self) -> Turn:
        """Takes the next place in the queue."""
        return Turn(self._turnstile.join(), self._clock, self.spacing)

    def mark_halt(self, number: int) -> object | None:
        """Tells other processes that a node is being halted, for as long as what is returned lives.

        Boards of one rail may have the same number: then one waits for the other, and nothing worse.

        Args:
            number: The offset of the node's line.

        Returns:
            None where another process halts it.

        Raises:
            LockError: The file of the lock cannot be used.
        """
        from rpi_clusterhat.hardware.turnstile import FileTurnstile

        if not isinstance(self._turnstile, FileTurnstile):
            return self  # no other process can reach the node
        with self._lock:
            mark = self._marks.get(number)
            if mark is None and (mark := self._turnstile.mark(number)) is not None:
                self._marks[number] = mark
            return mark

    def is_halted_elsewhere(self, number: int) -> bool:
        """Says whether another process halts a node. See `mark_halt`."""
        from rpi_clusterhat.hardware.turnstile import FileTurnstile

        if not isinstance(self._turnstile, FileTurnstile):
            return False
        with self._lock:
            return number not in self._marks and self._turnstile.is_marked(number)


class Turn:
    """A place in a rail's queue."""

    def __init__(self, ticket: Ticket, clock: Clock, spacing: float) -> None:
        self._ticket = ticket
        self._clock = clock
        self._spacing = spacing
        self._go_at: float | None = None
        self._under_way = False
        self._seen = b""
        """The entry as others left it."""
        self._patience = Patience(clock)

    def remaining(self) -> float:
        """Seconds to let pass before asking again; 0.0 when it is this one's turn now. Never waits.

        Raises `LockTimeoutError` when whoever is before this one has neither switched a node on nor left for
        a minute longer than the spacing: a program that was stopped, say.
        """
        if self._go_at is None:
            if not self._ticket.is_first():
                self._check_progress()
                return max(_POLL_MIN, min(_POLL_MAX, self._spacing / 10))
            now = self._clock.now()
            last = PowerUp.decode(self._ticket.load())
            self._go_at = earliest(last, now, self._spacing)
            if last is not None and self._go_at == now + self._spacing:
                # Kept, so that one who dies while waiting does not make the next wait from the start.
                self._ticket.store(PowerUp(now, pending=False).encode())
        return max(0.0, self._go_at - self._clock.now())

    def _check_progress(self) -> None:
        entry = self._ticket.load()
        if entry != self._seen:
            self._seen, self._patience = entry, Patience(self._clock)
        elif (waited := self._patience.waited()) > self._spacing + _PATIENCE:
            raise LockTimeoutError(
                f"another program has kept its place on the rail for {waited:.0f} s and "
                f"switches nothing on ({self._ticket!r}): see with 'fuser' who has that file open"
            )

    def expected(self) -> float:
        """About how many seconds this one has yet to wait at the least: for people to read."""
        if self._go_at is not None:
            return max(0.0, self._go_at - self._clock.now())
        now = self._clock.now()
        return max(0.0, earliest(PowerUp.decode(self._ticket.load()), now, self._spacing) - now)

    def begin(self) -> None:
        """Notes the power-up before the line is written."""
        self._under_way = True
        self._ticket.store(PowerUp(self._clock.now(), pending=True).encode())

    def end(self) -> None:
        """Notes that the line was written, or that the attempt is over."""
        if self._under_way:
            self._ticket.store(PowerUp(self._clock.now(), pending=False).encode())
            self._under_way = False

    def leave(self) -> None:
        """Gives the place up. May be called again."""
        self._ticket.close()
