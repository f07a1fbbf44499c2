"""Runs the command rpi-clusterhat beside pins for the EEPROM that stands for the expander.

After each write to a register of levels or directions, the input register gets what the pins would show:
outputs what is written, inputs their pull. The library's own transfers are not touched.
"""

from __future__ import annotations

import sys

from smbus2 import SMBus

import rpi_clusterhat_i2c.bus
from rpi_clusterhat.cli import main

INPUT, OUTPUT, DIRECTION, PULL_UPS = 0, 1, 3, 4


class BusWithPins(SMBus):
    def write_byte_data(self, i2c_addr: int, register: int, value: int, force: bool | None = None) -> None:
        super().write_byte_data(i2c_addr, register, value, force)
        if register in (OUTPUT, DIRECTION, PULL_UPS):
            output, direction, pull_ups = (
                self.read_byte_data(i2c_addr, known) for known in (OUTPUT, DIRECTION, PULL_UPS)
            )
            pins = output & ~direction | pull_ups & direction
            super().write_byte_data(i2c_addr, INPUT, pins, force)


rpi_clusterhat_i2c.bus.open_bus = BusWithPins
sys.exit(main())
