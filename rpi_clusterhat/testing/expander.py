"""An I2C expander at register level, behind methods of smbus2.

    expander = FakeExpander("XRA1200P", pins=0x0F)  # just got power, the POS jumper pulls p1 ... p4 high
    bus = FakeSMBus({0x20: expander})

A transaction is what happens between START and STOP on the bus: one ``I2C_RDWR`` with repeated starts is one.
Not simulated: pull-ups, interrupts, tri-state and filters of the XRA1200P, whose registers only keep what is
written to them; clock rates, and the time that anything takes.
"""

from __future__ import annotations

import threading
from errno import EBADF, EIO, EOPNOTSUPP, EREMOTEIO
from typing import TYPE_CHECKING, Any, NamedTuple

from rpi_clusterhat._fork import after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["FakeExpander", "FakeSMBus"]

_INPUT, _OUTPUT, _POLARITY, _DIRECTION = range(4)
_READ_ONLY = {"PCA9554": {_INPUT}, "XRA1200P": {_INPUT, 7}}
# Values after power-up. Sources: TI PCA9554 and Exar XRA1200P datasheets; register 00 is computed.
_RESET = {
    "PCA9554": (0x00, 0xFF, 0x00, 0xFF),
    "XRA1200P": (0x00, 0xFF, 0x00, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0x00, 0xFF),
}

_I2C_M_RD = 0x0001

_Message = bytes | int
"""Bytes that are written, or how many are read."""


class _Fault(NamedTuple):
    first: int
    last: float
    errno: int
    applied: int


class FakeExpander:
    """A PCA9554 or XRA1200P that has just got power.

    `pins`, `stuck` and the registers may be changed at any time, as another program on the bus would do it:
    such changes are not counted. It may be used from any thread.

    Args:
        chip: ``PCA9554`` or ``XRA1200P``.
        pins: The levels that the outside gives to pins while they are inputs, one bit each, such as those of
            a Cluster HAT's power-on state jumper.

    Raises:
        ValueError: There is no such chip.
    """

    def __init__(self, chip: str = "PCA9554", *, pins: int = 0x00) -> None:
        if chip not in _RESET:
            raise ValueError(f"chip {chip!r}: must be one of {', '.join(_RESET)}")
        self.chip = chip
        """``PCA9554`` or ``XRA1200P``."""
        self.pins = pins
        """The levels that the outside gives to pins while they are inputs, one bit each."""
        self.stuck: dict[int, bool] = {}
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
            levels = self._registers[_OUTPUT] & ~direction | self.pins & direction
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

    def transfer(self, messages: Sequence[_Message]) -> list[bytes]:
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
                raise _os_error(fault.errno)
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
            raise _os_error(EREMOTEIO)  # the chip does not acknowledge a command that it does not have
        self._pointer = data[0]
        for value in data[1:]:
            self.writes += 1
            self.log.append((self._pointer, value))
            if self._pointer not in _READ_ONLY[self.chip]:
                self._registers[self._pointer] = value


class FakeSMBus:
    """An open I2C bus with expanders, with methods of ``smbus2.SMBus``.

    Several of these may share an expander, as programs do. It may be used from any thread. Only the last
    message of a combined transaction may be a read, as Linux's driver for the Raspberry Pi's controller has
    it.

    Args:
        expanders: The expanders by their 7-bit address.
        combines: Whether the controller can do a transaction that writes more than once. By default it is one
            that cannot: a driver that passes on it passes on every controller. Such a transaction then ends
            in EIO, although its first message has taken effect.
    """

    def __init__(self, expanders: Mapping[int, FakeExpander], *, combines: bool = False) -> None:
        self.expanders = expanders
        self.combines = combines
        self.closed = False

    def __repr__(self) -> str:
        addresses = ", ".join(f"{address:#04x}" for address in self.expanders)
        return f"<FakeSMBus {addresses}{' closed' if self.closed else ''}>"

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        """Reads a register.

        Returns:
            Its value, 0 to 255.

        Raises:
            OSError: Nothing answers (errno 121), or the transaction was to fail.
        """
        [answer] = self._expander(i2c_addr).transfer([bytes([register]), 1])
        return answer[0]

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        """Writes a register.

        Raises:
            OSError: Nothing answers (errno 121), or the transaction was to fail.
        """
        self._expander(i2c_addr).transfer([bytes([register, value])])

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        """Performs one combined transaction.

        Args:
            i2c_msgs: Messages of the type ``smbus2.i2c_msg``, all for one address.

        Raises:
            OSError: The controller refuses it (errno 95) or cannot do it (errno 5), nothing answers
                (errno 121), or the transaction was to fail.
        """
        [address] = {message.addr for message in i2c_msgs}
        reading = [bool(message.flags & _I2C_M_RD) for message in i2c_msgs]
        expander = self._expander(address)
        if any(reading[:-1]):
            raise _os_error(EOPNOTSUPP)
        messages: list[_Message] = [
            message.len if read else b"".join(message.buf[i] for i in range(message.len))
            for message, read in zip(i2c_msgs, reading, strict=True)
        ]
        if not self.combines and len(messages) > 1 and reading != [False, True]:
            expander.transfer(messages[:1])
            raise _os_error(EIO)
        for answer in expander.transfer(messages):
            for i, value in enumerate(answer):
                i2c_msgs[-1].buf[i] = bytes([value])

    def close(self) -> None:
        """Closes the bus. It may be called again."""
        self.closed = True

    def _expander(self, address: int) -> FakeExpander:
        if self.closed:
            raise _os_error(EBADF)
        if address not in self.expanders:
            raise _os_error(EREMOTEIO)
        return self.expanders[address]


def _os_error(number: int) -> OSError:
    import os

    return OSError(number, os.strerror(number))
