"""An I2C expander at register level, behind the methods of smbus2 that the i2c backend calls.

    expander = FakeExpander("XRA1200P", pins=0x0F)  # just got power, the POS jumper pulls p1 ... p4 high
    bus = FakeSMBus({0x20: expander})

A transaction is what happens between START and STOP on the bus: one ``I2C_RDWR`` with repeated starts is one.
Not simulated: pull-ups, interrupts, tri-state and filters of the XRA1200P, whose registers only keep what is
written to them; clock rates, and the time that anything takes.
"""

from __future__ import annotations

import threading
from errno import EBADF, EOPNOTSUPP, EREMOTEIO
from typing import TYPE_CHECKING, Any, NamedTuple

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
_FUNC_I2C = 0x00000001
_FUNC_SMBUS_BYTE_DATA = 0x00180000

_Message = bytes | int
"""Bytes that are written, or how many are read."""


class _Fault(NamedTuple):
    first: int
    last: float
    errno: int
    applied: int


class FakeExpander:
    """A PCA9554 or XRA1200P that has just got power. May be used from any thread.

    ``pins`` are the levels, one bit each, that the outside gives to pins while they are inputs, such as the
    POS jumper of a Cluster HAT. ``stuck`` are pins that show a level whatever drives them, by offset. Both
    may be changed at any time, as may the registers by `output`, `polarity` and `direction`: that is what
    another program on the bus does, without it being counted or logged.
    """

    def __init__(self, chip: str = "PCA9554", *, pins: int = 0x00) -> None:
        if chip not in _RESET:
            raise ValueError(f"chip {chip!r}: must be one of {', '.join(_RESET)}")
        self.chip = chip
        self.pins = pins
        self.stuck: dict[int, bool] = {}
        self.transactions = 0
        """All that addressed this expander, failed ones too."""
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
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return (
            f"<FakeExpander {self.chip} levels={self.levels:#04x} output={self.output:#04x} "
            f"direction={self.direction:#04x} transactions={self.transactions}>"
        )

    @property
    def levels(self) -> int:
        """What a meter at the pins shows, one bit each."""
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
        """The polarity inversion register: inverts what is read of pins that are inputs."""
        return self._registers[_POLARITY]

    @polarity.setter
    def polarity(self, value: int) -> None:
        self._registers[_POLARITY] = value

    @property
    def direction(self) -> int:
        """The direction register: 1 is an input."""
        return self._registers[_DIRECTION]

    @direction.setter
    def direction(self, value: int) -> None:
        self._registers[_DIRECTION] = value

    def lose_power(self) -> None:
        """Takes the power away and gives it back: every register has its reset value."""
        with self._lock:
            self._registers[:] = _RESET[self.chip]
            self._pointer = 0

    def reset_counts(self) -> None:
        """Begins to count and to log anew. Faults and hooks stay due when they were."""
        with self._lock:
            done, self.transactions, self.reads, self.writes = self.transactions, 0, 0, 0
            self.log.clear()
            self._faults = [f._replace(first=f.first - done, last=f.last - done) for f in self._faults]
            self._hooks = [(at - done, action) for at, action in self._hooks]

    def fail(self, errno: int = EREMOTEIO, *, at: int = 1, times: int | None = 1, applied: int = 0) -> None:
        """Lets transactions fail with this errno: ``times`` of them (None: all) from the ``at``-th on, where
        1 is the next. So many of a transaction's messages as ``applied`` says still take effect; a register
        that is read is two messages, one that is written is one.

        A missing acknowledge is EREMOTEIO, a bus that hangs ETIMEDOUT, lost arbitration EAGAIN.
        """
        with self._lock:
            first = self.transactions + at
            last = float("inf") if times is None else first + times - 1
            self._faults.append(_Fault(first, last, errno, applied))

    def heal(self) -> None:
        """Ends all faults, and forgets those that are still to come."""
        with self._lock:
            self._faults.clear()

    def before(self, action: Callable[[], object], *, at: int = 1) -> None:
        """Calls ``action`` once, just before the ``at``-th transaction, where 1 is the next: what the outside
        does in the middle of an operation. It may use the bus itself, and it may wait for another thread that
        does; its transactions are counted as any."""
        with self._lock:
            self._hooks.append((self.transactions + at, action))

    def transfer(self, messages: Sequence[_Message]) -> list[bytes]:
        """One transaction: writes the bytes of each message or reads as many as it says, in turn, and returns
        what was read. Raises `OSError`."""
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
    """One opening of a bus: what the i2c backend calls of ``smbus2.SMBus``, in front of expanders by address.

    Several may share an expander, as programs do. ``i2c=False`` is an adapter that knows only the transfers
    of SMBus. As on a Raspberry Pi's controller, only the last message of a combined transaction may be a
    read. May be used from any thread.
    """

    def __init__(self, expanders: Mapping[int, FakeExpander], *, i2c: bool = True) -> None:
        self.expanders = expanders
        self.funcs = _FUNC_SMBUS_BYTE_DATA | (_FUNC_I2C if i2c else 0)
        self.closed = False

    def __repr__(self) -> str:
        addresses = ", ".join(f"{address:#04x}" for address in self.expanders)
        return f"<FakeSMBus {addresses}{' closed' if self.closed else ''}>"

    def read_byte_data(self, i2c_addr: int, register: int) -> int:
        """The value of a register. Raises `OSError`: errno 121 where nothing answers."""
        [answer] = self._expander(i2c_addr).transfer([bytes([register]), 1])
        return answer[0]

    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None:
        """Writes a register. Raises `OSError`: errno 121 where nothing answers."""
        self._expander(i2c_addr).transfer([bytes([register, value])])

    def i2c_rdwr(self, *i2c_msgs: Any) -> None:
        """One combined transaction, of ``smbus2.i2c_msg`` for one address. Raises `OSError`: errno 95 for
        one that the adapter cannot do."""
        [address] = {message.addr for message in i2c_msgs}
        reading = [bool(message.flags & _I2C_M_RD) for message in i2c_msgs]
        expander = self._expander(address)
        if not self.funcs & _FUNC_I2C or any(reading[:-1]):
            raise _os_error(EOPNOTSUPP)
        answers = expander.transfer(
            [
                message.len if read else b"".join(message.buf[i] for i in range(message.len))
                for message, read in zip(i2c_msgs, reading, strict=True)
            ]
        )
        for answer in answers:
            for i, value in enumerate(answer):
                i2c_msgs[-1].buf[i] = bytes([value])

    def close(self) -> None:
        """May be called again."""
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
