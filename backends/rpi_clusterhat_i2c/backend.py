"""A bank of eight lines behind an I2C expander (PCA9554, XRA1200P)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import BusError, ClosedError, DeviceNotFoundError, PowerLostError, StuckLineError

from . import bus
from .record import Record
from .registers import DIRECTION, INPUT, OUTPUT, POLARITY, PULL_UPS, WRITE_PROTECT, Registers, bus_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import OpenRequest

    from .registers import Bus, Chip

__all__ = ["I2CBackend", "check", "open_backend"]

_UNSET = 0xFF
"""The direction register after power-up: all pins are inputs. The output register's is the same."""


def open_backend(request: OpenRequest) -> I2CBackend:
    """Opens the bus, without a transaction. Raises `BackendUnavailableError`."""
    opened = bus.open_bus(request.options["bus"])
    try:
        return I2CBackend(opened, request)
    except BaseException:
        opened.close()
        raise


def check(options: Mapping[str, Any]) -> None:
    """Opens the bus and reads a register: writes nothing. Raises `BackendUnavailableError`."""
    registers = Registers(bus.open_bus(options["bus"]), options["bus"], options["address"], clock=SYSTEM)
    try:
        registers.get(DIRECTION)
    except BusError as error:
        raise DeviceNotFoundError(error.strerror) from error
    finally:
        registers.close()


class I2CBackend:
    """Lines 0 to 7 of an expander, by its registers 00 to 03, and for a solder link 04 of an XRA1200P.

    ``bus`` is open already and is closed with this. From one thread at a time. All errors of a transfer are
    those of `rpi_clusterhat.errors`: `TransientBusError` and `DeviceGoneError` above all.
    """

    holds_levels = True

    def __init__(self, bus: Bus, request: OpenRequest, *, sysfs: str = "/sys") -> None:
        number, address = request.options["bus"], request.options["address"]
        self._registers = Registers(bus, number, address, clock=request.clock, sysfs=sysfs)
        self._lines = {line.offset: line.name for line in request.lines}
        for offset, name in self._lines.items():
            if not 0 <= offset <= 7:
                raise DeviceNotFoundError(
                    f"{self._registers} has the lines 0 to 7, not {offset} ({name}): choose another backend"
                )
        known = bus_number(number)
        request.claim(f"the expander at {address:#04x} on bus {number if known is None else known}")
        name = f"i2c-{number if known is None else known}-{address:02x}"
        self._lock = partial(request.lock, name)
        self._record = Record(partial(request.record, name))
        self._direction: int | None = None
        self._altered = 0
        self._pins = 0
        """Those after the last switch: a line that does not follow is no other program's doing."""
        self._closed = False

    def __repr__(self) -> str:
        direction = "?" if self._direction is None else f"{self._direction:#04x}"
        return f"<I2CBackend {self._registers}{' closed' if self._closed else ''} direction={direction}>"

    @property
    def is_set_up(self) -> bool:
        """Whether the expander has been set up since it got power, as the last read found.

        An expander whose pins are all inputs has not. Before the first read this is True.
        """
        return self._direction != _UNSET

    @property
    def inputs(self) -> frozenset[int]:
        """Offsets of the lines that are inputs, as the last read found: their levels are not driven."""
        direction = self._direction or 0
        return frozenset(offset for offset in self._lines if direction >> offset & 1)

    @property
    def altered(self) -> frozenset[int]:
        """Offsets of the lines that were not as this library's programs had left them, at the last read."""
        return frozenset(offset for offset in self._lines if self._altered >> offset & 1)

    def read(self) -> dict[int, bool]:
        """Reads the levels at the pins, in two transactions that write nothing.

        A loss of power is no error here: `is_set_up` is False then.

        Returns:
            Levels by offset: True is high.

        Raises:
            BusError: The expander cannot be read.
        """
        self._check_open()
        left = self._record.load()
        self._direction = self._registers.get(DIRECTION)
        pins = self._registers.get(INPUT)
        self._altered = left.altered(pins, self._direction) if self.is_set_up else 0
        if self._altered and self._record.load() != left:
            self._altered = 0  # another program of this library has switched meanwhile: the next read tells
        return {offset: bool(pins >> offset & 1) for offset in self._lines}

    def write(self, levels: Mapping[int, bool]) -> None:
        """Switches lines in four transactions, under the lock of the expander, and reads them back.

        What the output register holds already is not written again. A line that somebody made an input
        becomes an output again, whatever its pin shows. A line that is not in ``levels`` is left as it is,
        and does no harm if it is stuck.

        Args:
            levels: Levels by offset: True is high.

        Raises:
            ValueError: The backend was not opened with one of the lines. Nothing is written.
            UnsupportedError: Line 7 was to be low, and a solder link ties it high. Nothing is written.
            PowerLostError: The expander is not set up. Nothing is set up.
            StuckLineError: A line of ``levels`` reads back as the opposite, twice.
            BusError: The expander cannot be read or written.
            LockTimeoutError: Another process keeps the lock.
        """
        self._check_open()
        mask, wanted = self._bits(levels)
        if not mask:
            return
        with (lock := self._lock()).hold():
            unprotects = mask & ~wanted & WRITE_PROTECT
            if unprotects or self._direction in (None, _UNSET):
                self._look()
            if unprotects:
                self._refuse_against_link()
            begun = self._record.begin(lock, mask)
            try:
                direction = self._switch(mask, wanted)
            except StuckLineError:
                if unprotects:  # perhaps the link, which a PCA9554 cannot tell: not to be driven against
                    self._registers.update(OUTPUT, lambda output: output | WRITE_PROTECT)
                raise
            self._record.end(lock, begun, self._pins, direction, self._altered)

    def _refuse_against_link(self) -> None:
        from .link import pull_ups, refuse_low

        if (pull_ups(self._registers) or 0) & WRITE_PROTECT:
            raise refuse_low(self._registers)

    def _switch(self, mask: int, wanted: int) -> int:
        """Writes levels until they stay. Returns the direction register."""
        for may_repeat in (True, True, False):
            value = self._registers.update(OUTPUT, lambda output: output & ~mask | wanted)
            direction = self._look()
            if direction & mask:
                self._registers.update(DIRECTION, lambda now: self._refuse_unset(now) & ~mask)
                self._undo_if_torn((OUTPUT, value))
                direction = self._look()
            # A program without a lock may have written back what was there before.
            if self._confirm(value, mask, may_repeat=may_repeat):
                break
        return direction

    def set_up(self, levels: Mapping[int, bool]) -> None:
        """Gives the outputs their levels, then makes all eight pins outputs, and reads them back.

        On an XRA1200P it first looks whether the solder link of line 7 is closed. Nothing is written if
        another process has set the expander up meanwhile: read again, then write.

        Args:
            levels: Levels by offset: True is high. Other lines get what the output register holds.

        Raises:
            ClusterHatError: As `write` does.
        """
        from .link import look_at_link, pull_ups, refuse_low  # once in an expander's life

        self._check_open()
        mask, wanted = self._bits(levels)
        with (lock := self._lock()).hold():
            self._direction = self._registers.get(DIRECTION)
            if self.is_set_up:
                return
            begun = self._record.begin(lock, 0xFF)
            has_pull_ups = pull_ups(self._registers) is not None
            value = wanted
            pulled: int | None = None

            def attempt(chip: Chip) -> None:
                nonlocal value, pulled
                if chip.get(DIRECTION) != _UNSET:  # the last try set it up although it failed
                    return
                chip.put(POLARITY, 0x00)
                pulled = look_at_link(chip) if has_pull_ups else None
                soldered = (pulled or 0) & WRITE_PROTECT
                if soldered & mask & ~wanted:
                    raise refuse_low(self._registers)
                value = chip.get(OUTPUT) & ~mask | wanted | soldered
                chip.put(OUTPUT, value)
                chip.put(DIRECTION, 0x00)

            self._registers.repeat(attempt)
            self._undo_if_torn((OUTPUT, value), *([] if pulled is None else [(PULL_UPS, pulled)]))
            direction = self._look()
            self._confirm(value, mask)
            self._record.end(lock, begun, self._pins, direction, 0)

    def close(self) -> None:
        """Closes the bus; the expander keeps its levels. May be called again."""
        if not self._closed:
            self._closed = True
            self._registers.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._registers} was closed: open it anew")

    def _bits(self, levels: Mapping[int, bool]) -> tuple[int, int]:
        mask = wanted = 0
        for offset, level in levels.items():
            if offset not in self._lines:
                known = ", ".join(map(str, self._lines))
                raise ValueError(f"line {offset} of {self._registers} is not open: open are {known}")
            mask |= 1 << offset
            wanted |= bool(level) << offset
        return mask, wanted

    def _look(self) -> int:
        """The direction register, where the expander is set up."""
        self._direction = self._registers.get(DIRECTION)
        return self._refuse_unset(self._direction)

    def _refuse_unset(self, direction: int) -> int:
        if direction == _UNSET:
            self._direction = direction
            raise PowerLostError(
                f"{self._registers} is not set up: all its lines are inputs, as after a loss of power; "
                f"nothing was switched, and the next on, off or init sets it up"
            )
        return direction

    def _undo_if_torn(self, *written: tuple[int, int]) -> None:
        """Makes all pins inputs again if the expander lost power between its levels and its directions.

        Reset has then put ones in its registers, and those of the output register drive every line high.

        Args:
            written: Registers whose value after a reset is `_UNSET`, and what was written to them.
        """
        if any(value != _UNSET == self._registers.get(register) for register, value in written):
            self._registers.put(DIRECTION, _UNSET)
            self._refuse_unset(_UNSET)

    def _confirm(self, value: int, mask: int, *, may_repeat: bool = False) -> bool:
        """Whether the pins show what was written; False where it ``may_repeat`` what was undone."""
        self._pins = self._registers.get(INPUT)
        if not (self._pins ^ value) & mask:
            return True
        self._look()  # a line that has lost its power is no stuck line
        wrong = (self._registers.get(OUTPUT) ^ value) & mask
        if wrong and may_repeat:
            return False
        advice = "another program switches them at the same time, and undoes it: end that"
        if not wrong:
            self._pins = self._registers.get(INPUT)
            wrong = (self._pins ^ value) & mask  # nor is a slow edge
            self._look()
            advice = "look for a short or for something else that drives them"
        if not wrong:
            return True
        found = {o: not value >> o & 1 for o in self._lines if wrong >> o & 1}
        from rpi_clusterhat.hardware.gpio import stuck_lines

        raise stuck_lines(self._registers, self._lines, found, advice)
