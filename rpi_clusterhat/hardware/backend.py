"""The contract between the library and its backends.

A backend drives a bank of lines. It knows offsets and levels (True is high), nothing of nodes. It is offered
by a `Plugin` that an entry point of the group ``rpi_clusterhat.backends`` names. The built-in backends are
found in the same way as those of other distributions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings import Option, Parser, parse_bool, parse_int

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from rpi_clusterhat.clock import Clock

    from .locks import FileLock
    from .simulation import SimulatedBoard

__all__ = [
    "Backend",
    "Line",
    "OpenRequest",
    "Option",
    "Parser",
    "Plugin",
    "SupportsConsoles",
    "SupportsDirections",
    "SupportsHalting",
    "SupportsRecord",
    "SupportsSetUp",
    "SupportsSimulation",
    "SupportsSsh",
    "parse_bool",
    "parse_int",
]


class Backend(Protocol):
    """An open bank of lines.

    Opening changes no level. The cluster calls a backend from one thread at a time, but not always from the
    same thread. A backend raises `BackendError` and its subclasses, and the errors of locks. A call after
    `close` raises `ClosedError`.
    """

    @property
    def holds_levels(self) -> bool:
        """Whether outputs keep their level after `close` and after the end of the process.

        A backend finds this out; it does not assume it.
        """
        ...

    def read(self) -> Mapping[int, bool]:
        """Reads the level at the pin of each line. This writes nothing to the hardware.

        Returns:
            Levels by offset: True is high.

        Raises:
            BackendError: The lines cannot be read.
        """
        ...

    def write(self, levels: Mapping[int, bool]) -> None:
        """Makes lines outputs with the given levels, without a glitch in between.

        All lines change in one transaction where the hardware can do that. Other lines stay as they are.

        Args:
            levels: Levels by offset: True is high.

        Raises:
            ValueError: The backend was not opened with one of the lines. Nothing is written.
            BackendError: The lines cannot be written.
        """
        ...

    def close(self) -> Mapping[int, bool] | None:
        """Gives the lines back. It may be called again.

        Returns:
            Where outputs do not keep their levels: what the pins of the lines that were given back show now,
            by offset, as far as they can be read. Else, and from the second call on, None.
        """
        ...


@runtime_checkable
class SupportsDirections(Protocol):
    """A backend whose lines may be inputs, whose levels nobody drives. One without it drives all its lines.

    An input may read like a line that is on because something pulls it. So the library never takes the level
    of an input for what was asked for: it writes the line.
    """

    @property
    def inputs(self) -> Collection[int]:
        """The offsets of lines that were inputs at the last `Backend.read`. Empty before the first one."""
        ...


@runtime_checkable
class SupportsRecord(Protocol):
    """A backend that knows how the programs of this library left its lines, and so sees what others did."""

    @property
    def altered(self) -> Collection[int]:
        """The offsets of lines that were not as they had been left, at the last `Backend.read`."""
        ...


@runtime_checkable
class SupportsSetUp(Protocol):
    """A backend whose bank must be set up after it got power, such as an expander."""

    @property
    def is_set_up(self) -> bool:
        """Whether anybody has set the bank up since it got power, as seen by the last `Backend.read`."""
        ...

    def set_up(self, levels: Mapping[int, bool]) -> None:
        """Sets the output levels first, and only then makes the lines outputs.

        Args:
            levels: Levels by offset, for all lines of the bank: True is high.

        Raises:
            BackendError: The lines cannot be written.
        """
        ...


@runtime_checkable
class SupportsSimulation(Protocol):
    """A backend that plays a board instead of driving one, and what the floors above need to know of it."""

    def rail_lock(self, rail: str) -> str | None:
        """Returns the path of the lock by which processes share a rail, which is none of the controller's.

        Args:
            rail: The rail's name.

        Returns:
            The path, or None for a rail that no other process can reach.
        """
        ...

    @property
    def simulation(self) -> SimulatedBoard:
        """The board that it simulates."""
        ...

    def addresses(self) -> Mapping[int, tuple[str, int]]:
        """Host and TCP port where nodes answer, by the offset of the node's line; empty where none do."""
        ...


@runtime_checkable
class SupportsHalting(Protocol):
    """A backend through which nodes can be asked to halt, as those of a simulation can.

    Neither method switches a line, and neither waits. Both raise `ValueError` for a line with which the
    backend was not opened, or on which there is no node, and `ClosedError` after `Backend.close`.
    """

    def ask_to_halt(self, offset: int) -> None:
        """Asks the operating system of a node to halt, and returns at once.

        That a node was asked does not mean that it will be down: it may ignore that, or get stuck on the way.
        One that is halting or has halted already is left at that.

        Args:
            offset: The line of the node.

        Raises:
            BackendError: Nobody there listens. The text says why: the node has no power, has not booted, or
                hangs.
        """
        ...

    def has_halted(self, offset: int) -> bool:
        """Says whether a node is down: nothing runs on it, and nothing writes to its card any more.

        Args:
            offset: The line of the node.

        Returns:
            True for a node that has halted and for one without power. False for one that hangs, for it was
            never seen to end.
        """
        ...


@runtime_checkable
class SupportsConsoles(Protocol):
    """A backend that knows the serial consoles of its nodes, such as simulated ones that are computers."""

    def consoles(self) -> Mapping[int, str]:
        """Returns the path of each node's console, by the offset of its line; empty where there is none.

        There need not be anything at a path yet: a console may come and go with the node's power.

        Raises:
            BackendError: The consoles cannot be made.
        """
        ...


@runtime_checkable
class SupportsSsh(Protocol):
    """A backend that knows where its nodes let people in by ssh, as `SupportsConsoles` does of consoles."""

    def ssh_addresses(self) -> Mapping[int, tuple[str, int]]:
        """Returns host and TCP port, by the offset of the node's line; empty where no node has a server.

        Raises:
            BackendError: The addresses cannot be had.
        """
        ...


class Line(Frozen):
    """A line that a board uses."""

    offset: int
    name: str
    """What the line switches: ``p1`` …, ``alert``, ``led``, ``hub``, ``wp``. It serves as a label."""


class OpenRequest(Frozen):
    """What a plugin gets when it is asked to open its backend."""

    lines: Sequence[Line]
    options: Mapping[str, Any]
    """A parsed value for each of the plugin's options, by name."""
    clock: Clock
    lock_dir: str
    """The folder for the files of locks that processes share."""
    shared: dict[str, Any]
    """Objects that the banks of one cluster share. It is empty for the first bank."""
    expander: bool = False
    """Whether the offsets are those of an I2C expander, not of the controller's header.

    A backend that finds the header's chip by itself must not do so then.
    """

    def lock(self, name: str, *, timeout: float = 5.0) -> FileLock:
        """Returns a lock that all programs share that switch this device.

        Args:
            name: Names the device, the same in every program: ``i2c-1-20``.
            timeout: For how many seconds to wait for another holder.
        """
        from .locks import FileLock, lock_path  # only who writes needs them

        return FileLock(lock_path(self.lock_dir, name), timeout=timeout, clock=self.clock)

    def record(self, name: str) -> bytes:
        """Returns what the last holder of a lock stored in it, ``b""`` where there is nothing.

        It takes no lock, and loads no code for locks.

        Args:
            name: The lock's, as for `lock`.
        """
        from .lock_record import load_record, lock_path

        return load_record(lock_path(self.lock_dir, name))

    def claim(self, what: str) -> None:
        """Claims a device for this board: two boards on one device would switch each other's nodes.

        Args:
            what: Names the device, as an error will show it.

        Raises:
            SettingError: Another board of the cluster has claimed it.
        """
        claimed: set[str] = self.shared.setdefault("claimed", set())
        if what in claimed:
            raise SettingError(f"two boards of this cluster use {what}: say which one each of them uses")
        claimed.add(what)


def _usable(options: Mapping[str, Any]) -> None:
    del options


class Plugin(Frozen):
    """What an entry point of the group ``rpi_clusterhat.backends`` names."""

    summary: str
    options: Sequence[Option]
    open: Callable[[OpenRequest], Backend]
    """Opens the backend, or raises `BackendUnavailableError` from its cause.

    This is the place to import third-party modules.
    """
    check: Callable[[Mapping[str, Any]], None] = _usable
    """Raises the `BackendUnavailableError` that opening with these options would raise.

    It opens and changes nothing.
    """
    board: str | None = None
    """For simulations: the version of the board, where no setting gives one."""
