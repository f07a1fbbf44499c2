"""The versions of the Cluster HAT as data, and the detection of the one that is fitted.

Source of the lines and levels: the vendor's control script and udev rules in ``burtyb/clusterhat-image``,
and the vendor's support pages.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import BoardNotFoundError
from rpi_clusterhat.settings.vendor import SOCKETS
from rpi_clusterhat.validate import invalid

from .backend import Line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DEVICE_TREE", "KINDS", "Board", "Role", "board", "detect"]

DEVICE_TREE = "/proc/device-tree/hat"
PRODUCT = "ZC4:ClusterHAT"
SIZE = SOCKETS


class Role(Frozen):
    """The line of a node or of a function, and its active level."""

    offset: int
    """The GPIO line of the controller, or the bit of the expander."""
    active_low: bool = False
    """Whether a low level is on."""

    def level(self, *, on: bool) -> bool:
        """Returns the level for on or off: True is high."""
        return on is not self.active_low

    def is_on(self, levels: Mapping[int, bool]) -> bool:
        """Returns whether the line is on, by levels of its bank."""
        return levels[self.offset] is not self.active_low


class Board(Frozen):
    """A version of the Cluster HAT as data: what its lines do."""

    version: str
    size: int
    """How many sockets are in use, counted from P1."""
    power: tuple[Role, ...]
    """The power switches of all sockets, also of those that are not in use."""
    functions: Mapping[str, Role]
    """The functions that the board has, of ``alert``, ``led``, ``hub`` and ``wp``."""
    expander: bool
    """Whether the lines are those of an I2C expander, which must be set up after it got power."""
    backends: tuple[str, ...]
    """The backends to try, best first."""

    @property
    def lines(self) -> list[Line]:
        """All lines of the board, those of sockets that are not in use too."""
        nodes = [Line(role.offset, f"p{i}") for i, role in enumerate(self.power, 1)]
        return nodes + [Line(role.offset, name) for name, role in self.functions.items()]

    def first_levels(self, pins: Mapping[int, bool]) -> dict[int, bool]:
        """Returns the levels for an expander that has not been set up.

        All nodes are on if all their pins read high (the power-on state jumper), else all nodes are off.
        Write protection, LEDs and hub are on, ALERT is off.

        Args:
            pins: What the pins show as inputs, by offset.
        """
        nodes_on = all(pins[role.offset] for role in self.power)
        levels = {role.offset: role.level(on=nodes_on) for role in self.power}
        for name, role in self.functions.items():
            levels[role.offset] = role.level(on=name != "alert")
        return levels


class Kind(Frozen):
    """A family of versions with the same lines."""

    name: str
    backends: tuple[str, ...]
    power: tuple[Role, ...]
    functions: Mapping[str, Role]
    note: str


_BCM_POWER = tuple(Role(bcm) for bcm in (6, 13, 19, 26))
_EXPANDER_POWER = tuple(Role(bit) for bit in range(4))
_LED, _ALERT, _WP = Role(4), Role(6), Role(7)

KINDS: Mapping[str, Kind] = {
    "1": Kind("1.x", ("gpiod", "sysfs"), _BCM_POWER, {"alert": Role(5)}, "GPIO lines of the controller"),
    "2.0": Kind(
        "2.0",
        ("i2c",),
        _EXPANDER_POWER,
        {"alert": _ALERT, "led": _LED, "hub": Role(5), "wp": _WP},
        "I2C expander, hub switched by its power",
    ),
    "2": Kind(
        "2.1 and later",
        ("i2c",),
        _EXPANDER_POWER,
        {"alert": _ALERT, "led": _LED, "hub": Role(5, active_low=True), "wp": _WP},
        "I2C expander, hub switched by its reset",
    ),
    "3": Kind(
        "3.x",
        ("i2c",),
        _EXPANDER_POWER,
        {"alert": _ALERT, "hub": Role(5, active_low=True)},
        "I2C expander, hub switched by its reset",
    ),
}

_ALLOWED = "1.x, 2.x or 3.x with x from 0 to 15, such as 2.3"


def board(version: str, size: int = SIZE, *, where: object = "") -> Board:
    """Looks up a board by its version.

    Args:
        version: Such as ``2.3``.
        size: How many sockets are in use, 1 to 4.
        where: Where the setting comes from, for errors.

    Raises:
        SettingError: There is no such version, or no such number of sockets.
    """
    major, dot, minor = version.strip().lower().removeprefix("v").partition(".")
    known = major in ("1", "2", "3") and dot and minor.isascii() and minor.isdigit() and len(minor) <= 2
    if not known or int(minor) > 15:
        raise invalid("board", version, _ALLOWED, where)
    if not 1 <= size <= SIZE:
        raise invalid("nodes", size, f"a whole number from 1 to {SIZE}", where)
    version = f"{major}.{int(minor)}"
    kind = KINDS["2.0" if version == "2.0" else major]
    return Board(version, size, kind.power, kind.functions, major != "1", kind.backends)


def detect(device_tree: str = DEVICE_TREE) -> str:
    """Finds the version of the fitted Cluster HAT by the description that the kernel has read from it.

    Args:
        device_tree: The folder in which the kernel shows the description.

    Returns:
        The version, such as ``2.3``.

    Raises:
        BoardNotFoundError: There is no HAT, it is another HAT, or this controller reads no descriptions.
    """
    say = "say which one is fitted, for example board='2.3' or --board 2.3"
    product = _property(device_tree, "product")
    if product is None:
        raise BoardNotFoundError(f"no HAT describes itself under {device_tree}: {say}")
    if product != PRODUCT:
        raise BoardNotFoundError(f"the HAT under {device_tree} is {product!r}, not a Cluster HAT: {say}")
    text = _property(device_tree, "product_ver") or ""
    try:
        number = int(text, 16)
    except ValueError:
        number = 0
    if not 0x10 <= number <= 0x3F:
        raise BoardNotFoundError(f"{device_tree}/product_ver is {text!r}, which is no known version: {say}")
    return f"{number >> 4}.{number & 15}"


def _property(folder: str, name: str) -> str | None:
    try:
        with open(os.path.join(folder, name), encoding="ascii", errors="replace") as file:
            return file.read(256).rstrip("\0\n")
    except OSError:
        return None


def node_names(boards: Sequence[Board]) -> list[list[str]]:
    """Returns the names of each board's nodes, which are numbered on from board to board."""
    names: list[list[str]] = []
    number = 1
    for one in boards:
        names.append([f"p{number + i}" for i in range(one.size)])
        number += one.size
    return names
