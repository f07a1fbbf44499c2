"""The vendor's tool as a v2.3 board's registers meet it: which it reads and writes, in which order.

Read from the sources at https://github.com/burtyb/clusterhat-image (files/usr/sbin/clusterctrl and
files/usr/share/clusterctrl/python/xra1200.py), and told here in other words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpi_clusterhat.testing import FakeSMBus

INPUT, OUTPUT, _, DIRECTION, PULL_UPS = range(5)
ADDRESS = 0x20
LED, HUB, ALERT, WP = 4, 5, 6, 7


class VendorsTool:
    """One run of the command, which first sets up an expander whose pins are all inputs."""

    def __init__(self, bus: FakeSMBus) -> None:
        self._bus = bus
        direction, pins = self._get(DIRECTION), self._get(INPUT)
        self.has_pull_ups = True
        try:
            pulled = self._get(PULL_UPS)
        except OSError:
            self.has_pull_ups, pulled = False, 0
        self.link_is_soldered = bool(pulled >> WP)
        """As it shows it: never on a chip without pull-ups."""
        if direction == 0xFF:
            self._set_up(pins)

    def _set_up(self, pins: int) -> None:
        if self.has_pull_ups:
            self._put(PULL_UPS, 0x7F)
            self.link_is_soldered = bool(self._get(INPUT) >> WP)
        if self.link_is_soldered:
            self._put(PULL_UPS, 0xFF)
        else:
            self.switch(WP, True)
        for node in range(4):
            self.switch(node, pins & 0x0F == 0x0F)
        for bit, level in ((ALERT, False), (LED, True), (HUB, False)):
            self.switch(bit, level)
        self._put(DIRECTION, 0x00)

    def switch(self, bit: int, level: bool) -> None:
        """Changes one bit of the output register. It takes no lock."""
        output = self._get(OUTPUT)
        self._put(OUTPUT, output | 1 << bit if level else output & ~(1 << bit))

    def unprotect(self) -> bool:
        """Switches write protection off, or refuses."""
        if not self.link_is_soldered:
            self.switch(WP, False)
        return not self.link_is_soldered

    def _get(self, register: int) -> int:
        return self._bus.read_byte_data(ADDRESS, register)

    def _put(self, register: int, value: int) -> None:
        self._bus.write_byte_data(ADDRESS, register, value)
