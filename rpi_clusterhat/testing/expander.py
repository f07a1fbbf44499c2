"""An I2C expander at register level, behind the methods of smbus2 that the i2c backend calls."""


class FakeExpander:
    pass


class FakeSMBus:
    pass
