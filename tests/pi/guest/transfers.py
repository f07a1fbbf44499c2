"""Makes transfers on bus 1 and says what came of each.

Arguments: ``put REGISTER VALUE ...``, ``get REGISTER COUNT`` (each a write and a read in one transfer) and
``put-get REGISTER VALUE`` (two writes and a read in one transfer).
"""

from __future__ import annotations

import json
import sys

from smbus2 import SMBus, i2c_msg

ADDRESS = 0x20


def main(kind: str, first: int, *values: int) -> list[int]:
    read: list[int] = []
    with SMBus(1) as bus:
        if kind == "put":
            for register, value in enumerate(values, first):
                bus.i2c_rdwr(i2c_msg.write(ADDRESS, [register, value]))
        elif kind == "get":
            for register in range(first, first + values[0]):
                got = i2c_msg.read(ADDRESS, 1)
                bus.i2c_rdwr(i2c_msg.write(ADDRESS, [register]), got)
                read += bytes(got)
        else:
            got = i2c_msg.read(ADDRESS, 1)
            bus.i2c_rdwr(i2c_msg.write(ADDRESS, [first, *values]), i2c_msg.write(ADDRESS, [first]), got)
            read += bytes(got)
    return read


try:
    told: dict[str, object] = {"read": main(sys.argv[1], *map(int, sys.argv[2:]))}
except OSError as error:
    told = {"errno": error.errno}
print(json.dumps(told))
