"""What a way to halt a node is, and what a sign is that it is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps

__all__ = ["Gate", "HaltWay", "NotWantedError", "Sighting", "Sign"]


class NotWantedError(Exception):
    """The halt was called off before the node was asked. For `HaltWay.ask`, which lets it through."""


class Gate(Protocol):
    """Between deciding that a node is to halt and telling it. Its methods wait for nothing."""

    def go(self) -> None:
        """Notes that the node is told now. Raises `NotWantedError` where it is to stay on after all."""
        ...

    def back(self) -> None:
        """Notes that the node could not be told."""
        ...

    def is_wanted(self) -> bool:
        """Whether the halt was called off, of a node that was not told."""
        ...

    def is_over(self) -> bool:
        """Whether there is nothing to halt any more: its power was cut."""
        ...


class HaltWay:
    """A way to ask a node's system to halt. It may be used from any thread, by one halt at a time."""

    __slots__ = ()

    name: str
    """As settings have it: ``console``."""

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:
        """Makes the steps that ask the node to halt.

        Args:
            left: Returns how many seconds the asking may take at most.
            go: Is called right before the node is told, when there is no way back. It raises
                `NotWantedError` where the halt was called off meanwhile.

        Raises:
            ClusterHatError: The node cannot be asked in this way now, and was not told. The text says why.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the asking holds open. It may be called again."""


class Sighting(Frozen):
    """What a sign says of a node."""

    is_down: bool
    reason: str
    """``gone from USB``, as the end of a sentence."""
    is_sure: bool = True
    """Whether this alone proves it. A node that does not answer its network may still write to its card."""


class Sign:
    """Something from which one can tell that a node is down. Used as a `HaltWay` is."""

    __slots__ = ()

    def begin(self) -> Steps[bool]:
        """Makes the steps that look at a node that is up, and say whether it shows this sign of life.

        Where it does not, nothing follows from its absence, and `look` is not asked.
        """
        raise NotImplementedError

    def look(self) -> Steps[Sighting | None]:
        """Makes the steps that look whether it is down; None where nothing can be told.

        They take a second or two at most.
        """
        raise NotImplementedError
