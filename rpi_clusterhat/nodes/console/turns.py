"""Who may write to a console that several have open."""

from __future__ import annotations

from enum import Enum

__all__ = ["Role", "Turns"]


class Role(Enum):
    """What somebody has a console open for."""

    PROGRAM = b"p"
    """Runs commands: alone, for as long as one takes."""
    OPERATOR = b"o"
    """A person at a terminal. Operators share the console while no program has the turn."""
    WATCHER = b"w"
    """Only reads."""


class Turns:
    """The turns of those who have a console open. Members are numbers. Not for several threads.

    A program has the turn from its asking, or when those before it are through, until it ends it or leaves.
    """

    def __init__(self) -> None:
        self._roles: dict[int, Role] = {}
        self._queue: list[int] = []

    def __repr__(self) -> str:
        return f"<Turns of {len(self._roles)}: {self._queue}>"

    @property
    def holder(self) -> int | None:
        """The program that has the turn, or None."""
        return self._queue[0] if self._queue else None

    def join(self, member: int, role: Role) -> None:
        """Adds a member."""
        assert member not in self._roles
        self._roles[member] = role

    def leave(self, member: int) -> None:
        """Removes a member, whether it had a turn or not."""
        del self._roles[member]
        self.end(member)

    def ask(self, member: int) -> None:
        """Has a program wait for the turn. Others, and one that has it or waits already, change nothing."""
        if self._roles[member] is Role.PROGRAM and member not in self._queue:
            self._queue.append(member)

    def end(self, member: int) -> None:
        """Ends a program's turn, or its waiting for one."""
        if member in self._queue:
            self._queue.remove(member)

    def may_write(self, member: int) -> bool:
        """Whether what a member writes is sent now."""
        if self._roles[member] is Role.WATCHER:
            return False
        return self.holder in ((member,) if self._roles[member] is Role.PROGRAM else (None,))
