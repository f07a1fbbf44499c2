"""What the programs of this library left at an expander: a note in the file of its lock.

Another program may switch lines of the expander, too. The vendor's tool does so without a lock, so it may
undo what was switched here at the same moment. That cannot be prevented, but it shows: a line is not as it
was left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.hardware.locks import FileLock

__all__ = ["Note", "Record"]

_KIND = b"expander"
_NUMBERS = 1 << 32


class Note(Frozen):
    """What a record says. The lines are one bit each."""

    number: int
    """One more with each note, so that a reader sees whether there was another in between."""
    known: int
    """The lines of which is known how they were left: outputs, none of which is just being switched."""
    levels: int
    """The levels of those."""

    def altered(self, pins: int, direction: int) -> int:
        """Returns the lines that were left otherwise.

        Args:
            pins: The levels at the pins.
            direction: The direction register: an input is not as it was left.
        """
        return (pins ^ self.levels | direction) & self.known


_NOTHING = Note(0, 0, 0)


class Record:
    """The note on one expander. What is not a note says nothing.

    Args:
        load: Returns the content of the lock's file, without the lock.
    """

    def __init__(self, load: Callable[[], bytes]) -> None:
        self._load = load

    def load(self) -> Note:
        """Reads the note."""
        fields = self._load().split()
        if len(fields) != 4 or fields[0] != _KIND:
            return _NOTHING
        try:
            number, known, levels = (int(field, 16) for field in fields[1:])
        except ValueError:
            return _NOTHING
        return Note(number % _NUMBERS, known & 0xFF, levels & 0xFF)

    def begin(self, lock: FileLock, lines: int) -> Note:
        """Notes that these lines are about to be switched: nobody knows how, should it not be ended.

        Args:
            lock: The lock, held.
            lines: One bit each.
        """
        note = self.load()
        return self._store(lock, note.number, note.known & ~lines, note.levels)

    def end(self, lock: FileLock, begun: Note, pins: int, direction: int, told: int) -> None:
        """Notes how the lines were left.

        A line that was altered without anybody having been told stays as it was noted: the next read shows
        it.

        Args:
            lock: The lock, held.
            begun: What `begin` returned.
            pins: The levels at the pins, by which a line that does not follow is not altered by anybody.
            direction: The direction register.
            told: The lines that were altered, as the last read showed.
        """
        kept = begun.known & ~told
        driven = ~direction & 0xFF
        self._store(lock, begun.number, kept | driven, begun.levels & kept | pins & ~kept)

    @staticmethod
    def _store(lock: FileLock, number: int, known: int, levels: int) -> Note:
        note = Note((number + 1) % _NUMBERS, known, levels)
        lock.store(b"%b %08x %02x %02x" % (_KIND, note.number, note.known, note.levels))
        return note
