"""The bench itself: does it show what the other tests rely on?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import gpiod
import pytest
import smbus2
from gpiod.line import Direction, Value

from tests.kernel.inside.bench import Bus, Driven, SimulatedChip, kernel_driver, watched
from tests.kernel.inside.people import run_as

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chip() -> Iterator[SimulatedChip]:
    chip = SimulatedChip()
    yield chip
    chip.remove()


@pytest.fixture
def bus() -> Bus:
    bus = Bus()
    bus.reset()
    return bus


def _output(level: bool) -> gpiod.LineSettings:
    return gpiod.LineSettings(
        direction=Direction.OUTPUT, output_value=Value.ACTIVE if level else Value.INACTIVE
    )


def test_a_simulated_line_falls_back_to_its_pull(chip: SimulatedChip) -> None:
    chip.pull(13, True)
    with gpiod.request_lines(chip.device, {6: _output(True), 13: _output(False)}, consumer="test"):
        assert chip.levels([6, 13, 19]) == {6: True, 13: False, 19: False}
    assert chip.levels([6, 13, 19]) == {6: False, 13: True, 19: False}


def test_the_watcher_sees_a_glitch(chip: SimulatedChip) -> None:
    with watched() as driven, gpiod.request_lines(chip.device, {6: _output(True)}) as request:
        request.set_value(6, Value.INACTIVE)
        request.set_value(6, Value.ACTIVE)
        assert driven() == [Driven(chip.base + 6, level) for level in (True, False, True)]


def test_the_bus_does_byte_data_and_combined_transactions(bus: Bus) -> None:
    with smbus2.SMBus(1) as smbus:
        assert smbus.read_byte_data(0x20, 3) == 0xFF
        smbus.write_byte_data(0x20, 1, 0x05)
        smbus.write_byte_data(0x20, 3, 0x00)
        read = smbus2.i2c_msg.read(0x20, 1)
        bus.combine(True)
        smbus.i2c_rdwr(smbus2.i2c_msg.write(0x20, [1, 0x06]), smbus2.i2c_msg.write(0x20, [0]), read)
        assert bytes(read) == b"\x06"
    assert bus.transfers == 4
    assert bus.writes() == [b"\x01\x05", b"\x03\x00", b"\x01\x06"]
    assert bus.pin_history() == [0x05, 0x06]


@pytest.mark.parametrize("read", [True, False])
def test_the_bus_does_what_a_raspberry_pi_does(bus: Bus, read: bool) -> None:
    """A transfer that writes twice ends in an error, although the first write has taken effect."""
    second = smbus2.i2c_msg.write(0x20, [0] if read else [3, 0])
    messages = [smbus2.i2c_msg.write(0x20, [1, 0x06]), second]
    with smbus2.SMBus(1) as smbus:
        with pytest.raises(OSError, match="Errno 5"):
            smbus.i2c_rdwr(*messages, *([smbus2.i2c_msg.read(0x20, 1)] if read else []))
        pair = smbus2.i2c_msg.write(0x20, [1]), smbus2.i2c_msg.read(0x20, 1)
        smbus.i2c_rdwr(*pair)
    assert bytes(pair[1]) == b"\x06"
    assert (bus.first.output, bus.first.direction) == (0x06, 0xFF)
    assert bus.writes() == [b"\x01\x06"]


def test_an_xra1200p_has_pull_ups(bus: Bus) -> None:
    bus.first.floating, bus.first.external = 0xF0, 0x01
    assert bus.first.pins == 0xF1
    bus.first.xra1200p(True)
    with smbus2.SMBus(1) as smbus:
        assert smbus.read_byte_data(0x20, 4) == 0xFF
        smbus.write_byte_data(0x20, 4, 0x7F)
        assert smbus.read_byte_data(0x20, 0) == 0x71
        with pytest.raises(OSError, match="121"):
            smbus.read_byte_data(0x20, 5)
    bus.first.power_cycle()
    assert (bus.first.pull_ups, bus.first.pins) == (0xFF, 0xF1)


def test_the_bus_fails_as_asked(bus: Bus) -> None:
    with smbus2.SMBus(1) as smbus:
        bus.fail(1, 110, skip=1)
        smbus.write_byte_data(0x20, 1, 0x01)
        with pytest.raises(OSError, match="110"):
            smbus.write_byte_data(0x20, 1, 0x02)
        assert bus.first.output == 0x01
        bus.fail(1, late=True)
        with pytest.raises(OSError, match="121"):
            smbus.write_byte_data(0x20, 1, 0x03)
        assert bus.first.output == 0x03
        bus.first.power_cycle(before_transfer=2)
        smbus.write_byte_data(0x20, 1, 0x04)
        assert smbus.read_byte_data(0x20, 1) == 0xFF
        bus.second.present(False)
        with pytest.raises(OSError, match="121"):
            smbus.read_byte_data(0x21, 0)
        with pytest.raises(OSError, match="121"):  # no PCA9554 has this register
            smbus.read_byte_data(0x20, 4)


def test_the_kernels_driver_takes_the_expander_over(bus: Bus) -> None:
    with kernel_driver() as label, smbus2.SMBus(1) as smbus:
        assert label == "1-0020"
        with pytest.raises(OSError, match="16"):
            smbus.read_byte_data(0x20, 0)
    assert bus.writes() == [b"\x02\x00"]


def test_users_are_users(chip: SimulatedChip) -> None:
    def can_open() -> bool:
        return os.access(chip.device, os.R_OK | os.W_OK)

    assert run_as("alice", os.getuid) == 2001
    assert run_as("alice", can_open)
    assert not run_as("mallory", can_open)
