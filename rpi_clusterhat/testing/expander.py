"""An I2C expander at register level.

    expander = FakeExpander("XRA1200P", pins=0x0F)  # just got power, the POS jumper pulls p1 ... p4 high
    bus = FakeSMBus({0x20: expander})

A transaction is what happens between START and STOP on the bus: one ``I2C_RDWR`` with repeated starts is one.
Not simulated: interrupts, tri-state and filters of the XRA1200P, whose registers only keep what is written to
them; clock rates, and the time that anything takes.
"""

from __future__ import annotations

import threading
from errno import EREMOTEIO
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat._fork import after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["FakeExpander", "Message", "os_error"]

_INPUT, _OUTPUT, _POLARITY, _DIRECTION, _PULL_UPS = range(5)
_READ_ONLY = {"PCA9554": {_INPUT}, "XRA1200P": {_INPUT, 7}}
# Values after power-up. Sources: TI PCA9554 and Exar XRA1200P datasheets; register 00 is computed.
_RESET = {
    "PCA9554": (0x00, 0xFF, 0x00, 0xFF),
    "XRA1200P": (0x00, 0xFF, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF),
}

Message = bytes | int
"""Bytes that are written, or how many are read."""


class _Fault(NamedTuple):
    first: int
    last: float
    errno: int
    applied: int


class FakeExpander:
    """A PCA9554 or XRA1200P that has just got power.

    `pins`, `floating`, `stuck` and the registers may be changed at any time, as another program on the bus
    would do it: such changes are not counted. It may be used from any thread.

    Args:
        chip: ``PCA9554`` or ``XRA1200P``.
        pins: The levels that the outside gives to pins while they are inputs, one bit each, such as those of
            a Cluster HAT's power-on state jumper.
        floating: The pins to which the outside gives no level, one bit each. As inputs they are high by their
            pull-ups: those of a PCA9554 are always on, those of an XRA1200P by its register 04.
        link: Whether the solder link is closed that write-protects a Cluster HAT's EEPROM: it ties pin 7
            high.

    Raises:
        ValueError: There is no such chip.
    """

    def __init__(
        self, chip: str = "PCA9554", *, pins: int = 0x00, floating: int = 0x00, link: bool = False
    ) -> None:
        if chip not in _RESET:
            raise ValueError(f"chip {chip!r}: must be one of {', '.join(_RESET)}")
        self.chip = chip
        """``PCA9554`` or ``XRA1200P``."""
        self.pins = pins
        """The levels that the outside gives to pins while they are inputs, one bit each."""
        self.floating = floating
        """The pins to which the outside gives no level, one bit each."""
        self.stuck: dict[int, bool] = {7: True} if link else {}
        """Pins that show a level whatever drives them, by offset."""
        self.transactions = 0
        """How many transactions addressed this expander, failed ones too."""
        self.reads = 0
        """How many times a register's value was read."""
        self.writes = 0
        """How many times a register was written."""
        self.log: list[tuple[int, int]] = []
        """Each write, in order, as register and value."""
        self._registers = list(_RESET[chip])
        self._pointer = 0
        self._faults: list[_Fault] = []
        self._hooks: list[tuple[int, Callable[[], object]]] = []
        self._renew()
        after_fork(self, FakeExpander._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return (
            f"<FakeExpander {self.chip} levels={self.levels:#04x} output={self.output:#04x} "
            f"direction={self.direction:#04x} transactions={self.transactions}>"
        )

    @property
    def levels(self) -> int:
        """The levels that a meter at the pins shows, one bit each."""
        with self._lock:
            direction = self._registers[_DIRECTION]
            undriven = self.pins & ~self.floating | self.pull_ups & self.floating
            levels = self._registers[_OUTPUT] & ~direction | undriven & direction
            for offset, level in self.stuck.items():
                levels = levels | 1 << offset if level else levels & ~(1 << offset)
            return levels & 0xFF

    @property
    def output(self) -> int:
        """The output register."""
        return self._registers[_OUTPUT]

    @output.setter
    def output(self, value: int) -> None:
        self._registers[_OUTPUT] = value

    @property
    def polarity(self) -> int:
        """The polarity inversion register: a 1 inverts what is read of a pin that is an input."""
        return self._registers[_POLARITY]

    @polarity.setter
    def polarity(self, value: int) -> None:
        self._registers[_POLARITY] = value

    @property
    def direction(self) -> int:
        """The direction register: a 1 makes a pin an input."""
        return self._registers[_DIRECTION]

    @direction.setter
    def direction(self, value: int) -> None:
        self._registers[_DIRECTION] = value

    @property
    def pull_ups(self) -> int:
        """The pins whose pull-ups are on, one bit each: all of a PCA9554's, which has no such register."""
        return self._registers[_PULL_UPS] if self.chip == "XRA1200P" else 0xFF

    def lose_power(self) -> None:
        """Takes the power away and gives it back: every register then has its reset value."""
        with self._lock:
            self._registers[:] = _RESET[self.chip]
            self._pointer = 0

    def reset_counts(self) -> None:
        """Starts counts and log anew. Faults and hooks stay due when they were."""
        with self._lock:
            done, self.transactions, self.reads, self.writes = self.transactions, 0, 0, 0
            self.log.clear()
            self._faults = [f._replace(first=f.first - done, last=f.last - done) for f in self._faults]
            self._hooks = [(at - done, action) for at, action in self._hooks]

    def fail(self, errno: int = EREMOTEIO, *, at: int = 1, times: int | None = 1, applied: int = 0) -> None:
        """Lets transactions fail.

        Args:
            errno: The error: EREMOTEIO for a missing acknowledge, ETIMEDOUT for a bus that hangs, EAGAIN for
                lost arbitration.
            at: The first transaction that fails, where 1 is the next one.
            times: How many transactions fail; None for all from then on.
            applied: How many messages of such a transaction still take effect. A register that is read takes
                two messages, a register that is written takes one.
        """
        with self._lock:
            first = self.transactions + at
            last = float("inf") if times is None else first + times - 1
            self._faults.append(_Fault(first, last, errno, applied))

    def heal(self) -> None:
        """Ends all faults, also those that are still to come."""
        with self._lock:
            self._faults.clear()

    def before(self, action: Callable[[], object], *, at: int = 1) -> None:
        """Has something happen in the middle of an operation, just before a transaction.

        Args:
            action: Is called once. It may use the bus, whose transactions are counted as any others, and may
                wait for another thread that uses it.
            at: The transaction before which it is called, where 1 is the next one.
        """
        with self._lock:
            self._hooks.append((self.transactions + at, action))

    def transfer(self, messages: Sequence[Message]) -> list[bytes]:
        """Performs one transaction.

        Args:
            messages: In turn, bytes to write, or how many bytes to read.

        Returns:
            The bytes of each message that read.

        Raises:
            OSError: The chip does not acknowledge, or the transaction was to fail.
        """
        with self._lock:
            self.transactions += 1
            number = self.transactions
            due = [hook for hook in self._hooks if hook[0] <= number]
            self._hooks = [hook for hook in self._hooks if hook[0] > number]
            fault = next((f for f in self._faults if f.first <= number <= f.last), None)
        for _, action in due:
            action()
        with self._lock:
            answers: list[bytes] = []
            for message in messages if fault is None else messages[: fault.applied]:
                if isinstance(message, int):
                    answers.append(bytes(self._read() for _ in range(message)))
                else:
                    self._write(message)
            if fault is not None:
                raise os_error(fault.errno)
            return answers

    def _read(self) -> int:
        self.reads += 1
        if self._pointer != _INPUT:
            return self._registers[self._pointer]
        return self.levels ^ self._registers[_POLARITY] & self._registers[_DIRECTION]

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if data[0] >= len(self._registers):
            raise os_error(EREMOTEIO)  # the chip does not acknowledge a command that it does not have
        self._pointer = data[0]
        for value in data[1:]:
            self.writes += 1
            self.log.append((self._pointer, value))
            if self._pointer not in _READ_ONLY[self.chip]:
                self._registers[self._pointer] = value


def os_error(number: int) -> OSError:
    """The error that a system call with this errno raises."""
    import os

    return OSError(number, os.strerror(number))
