"""The solder link that write-protects a HAT's EEPROM, read as the vendor's tool reads it.

Where it is closed, line 7 is tied high, and must not be driven low. An XRA1200P can tell: as an input without
its pull-up the line is low where the link is open. That can be looked at only while the line is an input, so
the pull-up of line 7 keeps the answer for later programs: it is on where the link is closed.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import UnsupportedError

from .registers import DIRECTION, INPUT, PULL_UPS, WRITE_PROTECT

if TYPE_CHECKING:
    from .registers import Chip, Registers

__all__ = ["look_at_link", "pull_ups", "refuse_low"]

_ALL = 0xFF
_ALL_BUT_LINE_7 = 0x7F

# What a controller's driver gives for a byte that the chip does not acknowledge. Source: Linux, i2c-bcm2835.c
# and i2c-designware-common.c (EREMOTEIO), i2c-algo-bit.c (EIO, ENXIO).
_REFUSED = (errno.EREMOTEIO, errno.EIO, errno.ENXIO)
_TRIES = 3


def pull_ups(registers: Registers) -> int | None:
    """Reads the pull-up register of an XRA1200P: one transaction, which writes nothing.

    A PCA9554 does not acknowledge this register. A bus that fails may look the same, so the chip has to
    refuse it three times, and to answer for another register each time.

    Returns:
        The register; None for a chip that has none, such as a PCA9554.

    Raises:
        BusError: The expander cannot be read.
    """

    def ask(chip: Chip) -> int | None:
        try:
            return chip.get(PULL_UPS)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            return None

    for _ in range(_TRIES):
        value = registers.repeat(ask)
        if value is not None:
            return value
        registers.get(DIRECTION)
    return None


def look_at_link(chip: Chip) -> int | None:
    """Looks whether the link is closed, and leaves the answer in the pull-up register. All pins are inputs.

    Returns:
        The pull-up register, with the bit `WRITE_PROTECT` where the link is closed; None where what was
        written to it does not stay, so that it is no such register.
    """
    for _ in range(2):  # it does not stay either where the expander loses power in between
        chip.put(PULL_UPS, _ALL_BUT_LINE_7)
        pins = chip.get(INPUT)
        if chip.get(PULL_UPS) == _ALL_BUT_LINE_7:
            break
    else:
        return None
    if not pins & WRITE_PROTECT:
        return _ALL_BUT_LINE_7
    chip.put(PULL_UPS, _ALL)
    return _ALL


def refuse_low(registers: Registers) -> UnsupportedError:
    """What to raise where line 7 was to be driven low against the link."""
    return UnsupportedError(
        f"write protection cannot be switched off: the solder link that protects the EEPROM is closed, as "
        f"register 04 of {registers} says; nothing was written: unsolder it first"
    )
