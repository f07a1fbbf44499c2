"""How a simulated board is looked at and broken, whichever plugin simulates it.

Tests get it from `rpi_clusterhat.testing.simulated`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SimulatedBoard", "SimulatedEvent", "SimulatedNode", "SimulatedRail"]


class SimulatedEvent(NamedTuple):
    """Something that happened in a simulated world.

    ``what`` is one of ``read``, ``write``, ``set-up`` (accesses to a bank's bus, failed ones included),
    ``on``, ``off``, ``up``, ``failed``, ``hung``, ``halting``, ``no-halt`` (it ignored that it was asked to),
    ``halted`` (of a node), ``writing`` (it was told to), ``corrupted``, ``repaired`` (of a node's card),
    ``brown-out`` (of a rail), ``outside``, ``released``, ``power-lost`` (of a bank) and ``fault`` (something
    was made to fail, or to work again).
    """

    time: float
    """In the clock's seconds."""
    what: str
    node: str
    """The node's name in its world; for what concerns more than one node ``bank NAME`` or ``rail NAME``."""
    detail: str = ""


class SimulatedRail(NamedTuple):
    """The supply of a simulated board, at a time."""

    name: str
    capacity: float
    """Amperes."""
    current: float
    """Amperes that all its nodes draw together."""
    powered: int
    """How many nodes have power."""
    brownouts: int


class SimulatedNode(Protocol):
    """A simulated node. May be kept, and used from any thread: it shows what holds when it is asked."""

    @property
    def name(self) -> str:
        """Its name in its world: ``p1`` …, numbered on over the boards in the order of their opening."""
        ...

    @property
    def powered(self) -> bool:
        """Whether it has power."""
        ...

    @property
    def phase(self) -> str:
        """``off``, ``booting``, ``up``, ``hung``, ``failed``, ``halting`` or ``halted``.

        A node is ``failed`` when it did not boot. It draws current all the same, as does one that hangs. One
        that has halted draws little, and boots again when its power was cut and given, or browned out.
        """
        ...

    @property
    def is_up(self) -> bool:
        """Whether it would answer a probe."""
        ...

    @property
    def up_since(self) -> float | None:
        """When it had booted, in the clock's seconds; None where it is not up."""
        ...

    @property
    def boots(self) -> int:
        """How often it started to boot: at each power-up, and once more at each brown-out."""
        ...

    @property
    def brownouts(self) -> int:
        """How often a brown-out made it boot again."""
        ...

    @property
    def current(self) -> float:
        """Amperes."""
        ...

    @property
    def temperature(self) -> float:
        """Degrees Celsius."""
        ...

    @property
    def card(self) -> str:
        """``clean``, ``dirty`` while it is being written, or ``corrupt``.

        A node writes to its card while it boots, while it halts, and when it was told to (`write`, the option
        ``writes``). A cut, a brown-out or a board's loss of power meanwhile corrupts the card.
        """
        ...

    @property
    def corruptions(self) -> int:
        """How often its card was corrupted; a corrupt one is not corrupted again before it is repaired."""
        ...

    def hang(self) -> None:
        """Hangs now, until its next start. Nothing happens to a node that has halted or has no power."""
        ...

    def halt(self) -> None:
        """Asks its operating system to halt. Nothing happens to a node that is halting or has halted already.

        Raises:
            BackendError: Nobody there listens: it has no power, has not booted, or hangs.
        """
        ...

    def write(self, seconds: float) -> None:
        """Writes to its card from now on, for so long, or until it halts, hangs or loses its power.

        Nothing happens to a node that is not up and will not be by itself.

        Raises:
            ValueError: That is no time.
        """
        ...

    def repair(self) -> None:
        """Has its card written anew. A node that did not boot from it boots at its next start."""
        ...

    def fail(
        self, *, boots: bool = True, slow: float = 1.0, hang_after: float | None = None, drops: float = 0.0
    ) -> None:
        """Has it fail from its next start on. Without arguments it boots as it should again.

        Args:
            boots: Whether it boots at all.
            slow: How many times longer that takes.
            hang_after: Seconds after each start until it hangs; None for never.
            drops: Seconds that its boot takes longer, in which it takes connections and closes them.
        """
        ...

    def fail_halting(
        self, *, ignored: bool = False, hangs: bool = False, seconds: float | None = None
    ) -> None:
        """Has its halts fail from the next request on. Without arguments it halts as it should again.

        Args:
            ignored: Whether it ignores that it is asked to.
            hangs: Whether it begins to halt, writes to its card, and never gets down.
            seconds: How long it takes; None for what the option ``halt_time`` says.

        Raises:
            ValueError: ``seconds`` is no time.
        """
        ...

    def stick(self, level: bool | None) -> None:
        """Makes its line stick at a level; with None it follows again what was written last."""
        ...

    def switch_outside(self, level: bool) -> None:
        """Switches its line as another program does, without an access of this one's."""
        ...


class SimulatedBoard(Protocol):
    """A simulated board. May be kept, and used from any thread."""

    @property
    def nodes(self) -> Mapping[int, SimulatedNode]:
        """Its nodes, by the offset of their lines."""
        ...

    @property
    def rail(self) -> SimulatedRail:
        """The supply of its nodes, as it is now. Boards may share one."""
        ...

    @property
    def history(self) -> Sequence[SimulatedEvent]:
        """What happened in its world, oldest first. Boards of one cluster share a world."""
        ...

    def stick(self, line: str, level: bool | None) -> None:
        """Makes a line stick at a level; with None it follows again what was written last.

        Args:
            line: ``p1`` … as the board itself counts, ``alert``, ``led``, ``hub`` or ``wp``.
            level: True is high.

        Raises:
            ValueError: The board has no such line.
        """
        ...

    def fail_bus(self, access: int = 1, times: int | None = 1, *, gone: bool = False) -> None:
        """Has accesses fail.

        Args:
            access: The first that fails, counted from 1, which is the next one.
            times: How many fail, with `TransientBusError`; None for all.
            gone: From the first on, all fail with `DeviceGoneError`.
        """
        ...

    def heal_bus(self) -> None:
        """Has accesses work again."""
        ...

    def lose_power(self) -> None:
        """Takes its power away for a moment.

        It comes back as a board that has not been set up: all lines are off, except those of nodes whose
        jumper says on.
        """
        ...
