"""An I2C bus with expanders at register level, behind methods of smbus2."""

from __future__ import annotations

from errno import EBADF, EIO, EOPNOTSUPP, EREMOTEIO
from typing import TYPE_CHECKING, Any

from .expander import os_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .expander import FakeExpander, Message

__all__ = ["FakeSMBus"]

_I2C_M_RD = 0x0001


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
            raise os_error(EOPNOTSUPP)
        messages: list[Message] = [
            message.len if read else b"".join(message.buf[i] for i in range(message.len))
            for message, read in zip(i2c_msgs, reading, strict=True)
        ]
        if not self.combines and len(messages) > 1 and reading != [False, True]:
            expander.transfer(messages[:1])
            raise os_error(EIO)
        for answer in expander.transfer(messages):
            for i, value in enumerate(answer):
                i2c_msgs[-1].buf[i] = bytes([value])

    def close(self) -> None:
        """Closes the bus. It may be called again."""
        self.closed = True

    def _expander(self, address: int) -> FakeExpander:
        if self.closed:
            raise os_error(EBADF)
        if address not in self.expanders:
            raise os_error(EREMOTEIO)
        return self.expanders[address]
