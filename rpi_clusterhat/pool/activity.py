"""Activity by a node's network counters, which count redirected clients and ssh sessions, too.

Nothing here waits, and the time is an argument; the counters' files are all that is read.
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from rpi_clusterhat import validate

__all__ = ["INTERVAL", "THRESHOLD", "ByteCounter", "Counters", "Traffic"]

INTERVAL = 60.0
"""Seconds. Chosen: ARP and neighbour entries are asked for again about once a minute, so that each interval
has its share of them."""

THRESHOLD = 4096
"""Bytes per interval. Chosen, not measured: a node that only keeps its place in the network (ARP and
neighbour discovery, mDNS, NTP, now and then DHCP: frames of 60 to 400 bytes) moves about one kilobyte a
minute, an ssh session that only keeps itself alive some 300 bytes more, while a page or some twenty
keystrokes over ssh move more than this. Nodes that are bridged into a busy network hear all of its
broadcasts and need a higher one."""


class ByteCounter(Protocol):
    """Where `Traffic` gets its numbers."""

    def read(self, name: str) -> int | None:
        """Returns how many bytes a node has moved so far, or None if that is not known."""
        ...


class Counters:
    """The kernel's counters of the controller's network devices, one for each node.

    They may be used from any thread.

    Args:
        interface: The device's name, with ``{number}`` (3) or ``{name}`` (p3) in it: ``ethpi{number}`` for
            nodes that boot from an SD card, ``ethupi{number}`` for those that boot over USB.
        root: The folder in which the kernel lists its network devices.

    Raises:
        SettingError: ``interface`` is no such name.
    """

    __slots__ = ("interface", "root")

    def __init__(self, interface: str = "ethpi{number}", root: str = "/sys/class/net") -> None:
        if not _is_template(interface):
            raise validate.invalid(
                "interface", interface, "a network device's name with {number} or {name} in it"
            )
        self.interface = interface
        self.root = root

    def __repr__(self) -> str:
        return f"<Counters {self.interface}>"

    def read(self, name: str) -> int | None:
        """Reads the counters of a node's device.

        Args:
            name: The node's name, such as ``p3``.

        Returns:
            The bytes in both directions so far, or None if there is no device, as for a node that is off.
        """
        device = self.interface.replace("{number}", name.removeprefix("p")).replace("{name}", name)
        folder = os.path.join(self.root, device, "statistics")
        total = 0
        for direction in ("rx_bytes", "tx_bytes"):
            try:
                with open(os.path.join(folder, direction), "rb") as file:
                    total += int(file.read())
            except (OSError, ValueError):  # it left, maybe between the opening and the reading
                return None
        return total


class Traffic:
    """Finds the nodes that have moved enough bytes to count as active.

    It may be asked as often as you like: bytes add up until they reach the threshold or the interval is over.
    For a time longer than the interval, the threshold grows with it. It belongs to one thread or event loop.

    Args:
        counters: Where to read the nodes' bytes, such as `Counters`.
        threshold: How many bytes in an interval are activity.
        interval: Seconds.

    Raises:
        SettingError: A number is invalid.
    """

    __slots__ = ("_counters", "_interval", "_marks", "_threshold")

    def __init__(
        self, counters: ByteCounter, threshold: int = THRESHOLD, *, interval: float = INTERVAL
    ) -> None:
        validate.instance("threshold", threshold, int, "a number of bytes, 1 or more")
        if threshold < 1:
            raise validate.invalid("threshold", threshold, "a number of bytes, 1 or more")
        validate.seconds("interval", interval, above=True)
        self._counters = counters
        self._threshold = threshold
        self._interval = interval
        self._marks: dict[str, tuple[float, int]] = {}

    def active(self, name: str, now: float) -> bool:
        """Returns whether a node has been active since it was last found so, or in the current interval.

        The first look at a counter is never activity. Nor is a counter that is lower than before, since its
        device is a new one.

        Args:
            name: The node's name.
            now: The time, in seconds of any clock that only goes forward.
        """
        count = self._counters.read(name)
        if count is None:
            self._marks.pop(name, None)
            return False
        since, before = self._marks.get(name, (now, count))
        length = (now - since) / self._interval
        moved = count - before
        is_active = moved >= self._threshold * max(1.0, length)
        if is_active or moved < 0 or length >= 1 or name not in self._marks:
            self._marks[name] = (now, count)
        return is_active


def _is_template(interface: Any) -> bool:
    if not isinstance(interface, str):
        return False
    plain = interface.replace("{number}", "").replace("{name}", "")
    return plain != interface and all(c not in "{}/:" and not c.isspace() and c.isprintable() for c in plain)
