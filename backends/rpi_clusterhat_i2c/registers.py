"""An expander's registers over a bus that may fail: transfers are tried again, errors are told in words."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rpi_clusterhat.errors import BackendError, BusError, DeviceGoneError, LineBusyError, TransientBusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.clock import Clock

__all__ = ["DIRECTION", "INPUT", "OUTPUT", "POLARITY", "Bus", "Registers", "bus_number", "bus_path"]

T = TypeVar("T")

INPUT, OUTPUT, POLARITY, DIRECTION = range(4)
"""The registers that the PCA9554 and the XRA1200P have in common."""

_FUNC_I2C = 0x00000001

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
    """What is used of ``smbus2.SMBus``."""

    funcs: Any

    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def i2c_rdwr(self, *i2c_msgs: Any) -> None: ...
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


class Registers:
    """The registers of the expander at one address.

    Every method makes at most three tries of what it does and then raises `TransientBusError`; also
    `DeviceGoneError`, `LineBusyError` and `BusError`. From one thread at a time.
    """

    def __init__(
        self, bus: Bus, number: int | str, address: int, *, clock: Clock, sysfs: str = "/sys"
    ) -> None:
        self._bus = bus
        self._number = number
        self._address = address
        self._clock = clock
        self._sysfs = sysfs
        self._combines = bool(bus.funcs & _FUNC_I2C)

    def __str__(self) -> str:
        return f"the expander at {self._address:#04x} on {bus_path(self._number)}"

    def close(self) -> None:
        self._bus.close()

    def get(self, register: int) -> int:
        """Reads a register: one transaction."""
        return self._try(lambda: self._bus.read_byte_data(self._address, register))

    def put(self, *writes: tuple[int, int]) -> int:
        """Writes registers in this order and reads the pins: one transaction where the adapter can.

        A new try writes all of them again: whatever the expander lost in between, no register is ever
        written without those before it.
        """
        return self._try(lambda: self._put(writes))

    def update(self, register: int, change: Callable[[int], list[tuple[int, int]]]) -> int:
        """Reads a register and writes what follows from its value, as `put` does.

        A retry reads the register again.

        Args:
            register: The register to read.
            change: Returns, for its value, registers and values to write.
        """

        def attempt() -> int:
            return self._put(change(self._bus.read_byte_data(self._address, register)))

        return self._try(attempt)

    def _put(self, writes: tuple[tuple[int, int], ...] | list[tuple[int, int]]) -> int:
        if self._combines:
            try:
                return self._put_combined(writes)
            except OSError as error:
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self._combines = False  # the kernel refuses before it transfers anything
        for register, value in writes:
            self._bus.write_byte_data(self._address, register, value)
        return self._bus.read_byte_data(self._address, INPUT)

    def _put_combined(self, writes: tuple[tuple[int, int], ...] | list[tuple[int, int]]) -> int:
        from smbus2 import i2c_msg

        # Only the last message may be a read: a limit of the Pi's controller (Linux, i2c-bcm2835.c).
        messages = [i2c_msg.write(self._address, write) for write in [*writes, (INPUT,)]]
        answer = i2c_msg.read(self._address, 1)
        self._bus.i2c_rdwr(*messages, answer)
        return ord(answer.buf[0])

    def _try(self, attempt: Callable[[], T]) -> T:
        failed = 0
        while True:
            try:
                return attempt()
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
