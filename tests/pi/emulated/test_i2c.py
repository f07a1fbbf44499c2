"""The Pi's I2C controller with the kernel's i2c-bcm2835: which transfers pass, and what reaches a device."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.pi.emulated.commands import COMMAND, done, nodes, powered

if TYPE_CHECKING:
    from tests.pi.machine.booting import Pi, Ran

AFTER_RESET = [0x00, 0xFF, 0x00, 0xFF, 0x00]
"""The registers 00 to 04 of an expander that nobody has set up, with all pins low."""
SET_UP = [0x90, 0x90, 0x00, 0x00, 0x00]
"""All nodes off, the LEDs on, the hub on, the EEPROM protected."""


def _transfer(pi: Pi, *arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done(pi.run("python3", "/guest/transfers.py", *map(str, arguments))))
    return told


def _prepare(pi: Pi, registers: list[int]) -> None:
    assert _transfer(pi, "put", 0, *registers) == {"read": []}
    assert _registers(pi) == registers


def _registers(pi: Pi, count: int = 5) -> list[int]:
    """Read by another program than the library."""
    read: list[int] = _transfer(pi, "get", 0, count)["read"]
    return read


def _v2(pi: Pi, *arguments: str, how: tuple[str, ...] = ("/guest/with_pins.py",)) -> Ran:
    return pi.run("python3", *how, *COMMAND[3:], "2.3", "--backend", "i2c", *arguments)


def test_the_controller_fails_transfers_that_write_twice_and_read(pi: Pi) -> None:
    """What the kernel lab's bus does in its mode of this controller."""
    assert _transfer(pi, "put", 1, 0xA5) == {"read": []}
    assert _transfer(pi, "get", 1, 1) == {"read": [0xA5]}
    assert _transfer(pi, "put-get", 1, 0x5A) == {"errno": errno.EIO}
    assert _transfer(pi, "get", 1, 1) == {"read": [0x5A]}


@pytest.mark.parametrize("registers", [AFTER_RESET, SET_UP], ids=["after a reset", "set up"])
def test_status_writes_nothing(pi: Pi, registers: list[int]) -> None:
    _prepare(pi, registers)
    assert powered(_v2(pi, "status", "--json", how=COMMAND[1:3])) == nodes()
    assert _registers(pi) == registers


def test_on_and_off_of_an_expander_that_is_set_up(pi: Pi) -> None:
    _prepare(pi, SET_UP)
    done(_v2(pi, "on", "p1", "p3"))
    assert _registers(pi, 4) == [0x95, 0x95, 0x00, 0x00]
    assert powered(_v2(pi, "status", "--json", how=COMMAND[1:3])) == nodes(1, 3)
    done(_v2(pi, "off", "p1"))
    assert _registers(pi, 4) == [0x94, 0x94, 0x00, 0x00]
    done(_v2(pi, "off", "all"))
    assert _registers(pi, 4) == [0x90, 0x90, 0x00, 0x00]


def test_the_first_on_sets_the_expander_up(pi: Pi) -> None:
    _prepare(pi, AFTER_RESET)
    done(_v2(pi, "on", "p2"))
    assert _registers(pi, 4) == [0x92, 0x92, 0x00, 0x00]


def test_the_other_functions(pi: Pi) -> None:
    _prepare(pi, [*SET_UP[:4], 0x7F])
    for function, state, output in (
        ("alert", "on", 0xD0),
        ("led", "off", 0xC0),
        ("hub", "off", 0xE0),
        ("wp", "off", 0x60),
    ):
        done(_v2(pi, function, state))
        assert _transfer(pi, "get", 1, 1) == {"read": [output]}, function


def test_no_expander_at_this_address(pi: Pi) -> None:
    ran = _v2(pi, "--address", "0x21", "status", how=COMMAND[1:3])
    assert ran.code == 1
    assert "0x21" in ran.errors
    assert "Traceback" not in ran.errors
