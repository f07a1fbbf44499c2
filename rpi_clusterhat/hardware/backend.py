"""What a backend is, and what its plugin says of it.

A backend drives a bank of lines. It knows offsets and levels (True is high), nothing of nodes. A plugin is
a `Plugin` that an entry point of the group ``rpi_clusterhat.backends`` names; the built-in ones are found
the same way as a stranger's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import (
    SettingError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rpi_clusterhat.clock import Clock

__all__ = [
    "Backend",
    "Line",
    "OpenRequest",
    "Option",
    "Plugin",
    "SupportsAddresses",
    "SupportsSetUp",
    "parse_bool",
    "parse_int",
]


class Backend(Protocol):
    """A bank of lines, open.

    Opening changes no level. The cluster calls a backend from one thread at a time, not always the same.
    Errors are those of `rpi_clusterhat.errors`: `BackendError` and its kin, and those of locks; a call
    after `close` raises `ClosedError`.
    """

    @property
    def holds_levels(self) -> bool:
        """Whether outputs keep their level once this is closed or its process has died: found out, not
        assumed."""
        ...

    def read(self) -> Mapping[int, bool]:
        """The level at the pin of each line, by offset. Never writes to the hardware."""
        ...

    def write(self, levels: Mapping[int, bool]) -> None:
        """Makes these lines outputs with these levels, without a glitch on the way, together in one
        transaction where the hardware can; the other lines are left as they are. A line that the backend was
        not opened with is a `ValueError`, and nothing is written."""
        ...

    def close(self) -> None:
        """Gives the lines back. May be called again."""
        ...


@runtime_checkable
class SupportsSetUp(Protocol):
    """A backend whose bank starts out unset after it got power, such as an expander with all pins inputs."""

    @property
    def is_set_up(self) -> bool:
        """Whether anybody has set the bank up since it got power, as seen by the last `Backend.read`."""
        ...

    def set_up(self, levels: Mapping[int, bool]) -> None:
        """Sets the output levels first and only then makes the lines outputs."""
        ...


@runtime_checkable
class SupportsAddresses(Protocol):
    """A backend that knows where its nodes answer, as a simulated one does."""

    def addresses(self) -> Mapping[int, tuple[str, int]]:
        """Host and TCP port, by the offset of the node's line."""
        ...


class Line(Frozen):
    """A line that a board uses."""

    offset: int
    name: str
    """What it switches: ``p1`` …, ``alert``, ``led``, ``hub``, ``wp``. For labels and the simulation."""


class OpenRequest(Frozen):
    """What a plugin gets to open its backend with."""

    lines: Sequence[Line]
    options: Mapping[str, Any]
    """A value for each of the plugin's options."""
    clock: Clock
    lock_dir: str
    """Where locks that processes share have their files."""
    shared: dict[str, Any]
    """Objects that the banks of one cluster share; empty for the first of them."""
    expander: bool = False
    """Whether the offsets are those of an I2C expander rather than of the controller's header: a backend that
    finds the header's chip by itself must not do so then."""

    def claim(self, what: str) -> None:
        """Notes that this board uses what this text names; raises `SettingError` where another board of the
        cluster does so already, as two would switch each other's nodes."""
        claimed: set[str] = self.shared.setdefault("claimed", set())
        if what in claimed:
            raise SettingError(f"two boards of this cluster use {what}: say which one each of them uses")
        claimed.add(what)


class Option(Frozen):
    """An option of a plugin, which users give as ``-o NAME=VALUE`` or under ``options`` in a file."""

    name: str
    parse: Callable[[str], Any]
    """From text; raises `ValueError` whose text says what is allowed."""
    default: Any
    help: str


def _usable(options: Mapping[str, Any]) -> None:
    del options


class Plugin(Frozen):
    """What the entry point names."""

    summary: str
    options: Sequence[Option]
    open: Callable[[OpenRequest], Backend]
    """Opens the backend, or raises `BackendUnavailableError` from its cause. Imports third parties here."""
    check: Callable[[Mapping[str, Any]], None] = _usable
    """Raises the `BackendUnavailableError` that opening with these options would; opens and changes
    nothing."""
    board: str | None = None
    """The version of the board to take where none is said, instead of looking for one: for simulations."""


def parse_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "yes", "true", "on"):
        return True
    if word in ("0", "no", "false", "off"):
        return False
    raise ValueError("yes or no")


def parse_int(low: int, high: int, *, form: str = "d") -> Callable[[str], int]:
    """A parser for a whole number in a range, decimal or ``0x`` hexadecimal."""

    def parse(text: str) -> int:
        allowed = (
            f"a number from {low:#{form}} to {high:#{form}}"
            if form == "x"
            else f"a number from {low} to {high}"
        )
        try:
            value = int(text, 0)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high:
            raise ValueError(allowed)
        return value

    return parse
