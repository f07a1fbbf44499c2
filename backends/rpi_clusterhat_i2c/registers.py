"""An expander's registers over a bus that may fail: transfers are repeated, errors are told in words."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol, TypeVar

from rpi_clusterhat.errors import BackendError, BusError, DeviceGoneError, LineBusyError, TransientBusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.clock import Clock

__all__ = [
    "DIRECTION",
    "INPUT",
    "OUTPUT",
    "POLARITY",
    "PULL_UPS",
    "WRITE_PROTECT",
    "Bus",
    "Chip",
    "Registers",
    "bus_number",
    "bus_path",
]

T = TypeVar("T")

INPUT, OUTPUT, POLARITY, DIRECTION = range(4)
"""The registers that the PCA9554 and the XRA1200P have in common."""

PULL_UPS = 4
"""The register of an XRA1200P by which each pin's pull-up is on (1) or off. A PCA9554 refuses it."""

WRITE_PROTECT = 1 << 7
"""The bit of the line that write-protects a HAT's EEPROM."""

# What adapters give for a missing acknowledge, lost arbitration, a bus held down, an interrupted transfer.
# Source: Linux, Documentation/i2c/fault-codes.rst, and the drivers of the Pi's controllers and of i2c-gpio.
_TRANSIENT = frozenset(
    (
        errno.EREMOTEIO,
        errno.EIO,
        errno.ETIMEDOUT,
        errno.EAGAIN,
        errno.ENXIO,
        errno.EPROTO,
        errno.EBADMSG,
        errno.EINTR,
    )
)
_PAUSES = (0.002, 0.008)
"""Seconds to wait before the second and the third try."""


class Bus(Protocol):
    """What is used of ``smbus2.SMBus``: single writes, and pairs of a write and a read.

    These are the transfers that every controller can do. The driver of the Pi's controller lets one that
    writes twice before it reads end in an error, although the first write has taken effect.
    """

    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def close(self) -> None: ...


def bus_path(bus: int | str) -> str:
    """The device of a bus that is given by number or by path."""
    return f"/dev/i2c-{bus}" if isinstance(bus, int) else bus


def bus_number(bus: int | str) -> int | None:
    """The kernel's number of a bus, however it was given; None where it has none."""
    if isinstance(bus, int):
        return bus
    name = os.path.basename(os.path.realpath(bus))
    number = name.removeprefix("i2c-")
    return int(number) if number != name and number.isdecimal() else None


class Chip:
    """The expander itself: each call is one transaction, tried once, and may raise an `OSError`."""

    def __init__(self, bus: Bus, address: int) -> None:
        self._bus = bus
        self._address = address

    def get(self, register: int) -> int:
        return self._bus.read_byte_data(self._address, register)

    def put(self, register: int, value: int) -> None:
        self._bus.write_byte_data(self._address, register, value)


class Registers:
    """The registers of the expander at one address, over a bus that may fail.

    Each method makes at most three tries of what it does and then raises `TransientBusError`; also
    `DeviceGoneError`, `LineBusyError` and `BusError`. From one thread at a time.
    """

    def __init__(
        self, bus: Bus, number: int | str, address: int, *, clock: Clock, sysfs: str = "/sys"
    ) -> None:
        self._bus = bus
        self._chip = Chip(bus, address)
        self._number = number
        self._address = address
        self._clock = clock
        self._sysfs = sysfs

    def __str__(self) -> str:
        return f"the expander at {self._address:#04x} on {bus_path(self._number)}"

    def close(self) -> None:
        self._bus.close()

    def get(self, register: int) -> int:
        """Reads a register: one transaction."""
        return self.repeat(lambda chip: chip.get(register))

    def put(self, register: int, value: int) -> None:
        """Writes a register: one transaction. Another try writes the same value again."""
        self.repeat(lambda chip: chip.put(register, value))

    def update(self, register: int, change: Callable[[int], int]) -> int:
        """Reads a register and writes what becomes of its value, where that is another.

        Another try reads the register again: what happened in between is kept.

        Args:
            register: The register.
            change: Returns the new value for the old one.

        Returns:
            The new value.
        """

        def attempt(chip: Chip) -> int:
            value = self.get(register)
            if (changed := change(value)) != value:
                chip.put(register, changed)
            return changed

        return self.repeat(attempt)

    def repeat(self, attempt: Callable[[Chip], T]) -> T:
        """Makes several transactions, and all of them again where one fails in a way that can pass.

        Args:
            attempt: Makes them. Methods of this class that it calls have tries of their own.
        """
        failed = 0
        while True:
            try:
                return attempt(self._chip)
            except BackendError:  # told already, after its own tries
                raise
            except OSError as error:
                if error.errno not in _TRANSIENT or failed == len(_PAUSES):
                    raise self._told(error) from error
            self._clock.sleep(_PAUSES[failed])
            failed += 1

    def _told(self, error: OSError) -> BackendError:
        code, reason = error.errno or errno.EIO, error.strerror or str(error)
        if code in _TRANSIENT:
            number = bus_number(self._number)
            scan = f" (see 'i2cdetect -y {number}')" if number is not None else ""
            return TransientBusError(
                code,
                f"{self} did not answer in {len(_PAUSES) + 1} tries ({reason}): "
                f"is a HAT fitted, and is this its bus and address{scan}?",
            )
        if code == errno.EBUSY:
            return self._busy()
        if code == errno.ENODEV:
            return DeviceGoneError(
                code, f"{self} is gone ({reason}): close this and open it anew when it is back"
            )
        return BusError(code, f"a transfer with {self} failed: {reason}")

    def _busy(self) -> LineBusyError:
        number = bus_number(self._number)
        device = f"{self._number if number is None else number}-{self._address:04x}"
        try:
            driver = os.path.basename(os.readlink(f"{self._sysfs}/bus/i2c/devices/{device}/driver"))
        except OSError:
            holder = "a kernel driver"
        else:
            holder = f"the kernel driver {driver}"
        return LineBusyError(f"{self} is held by {holder}: use the backend gpiod with '-o chip={device}'")
