"""Makes the lines of a v1 board inputs that nobody holds.

Each argument OFFSET=LEVEL names a level; the other lines are low. The emulated chip has no pulls, but its
inputs keep the level that they were driven to before: that is what a pull looks like.
"""

from __future__ import annotations

import glob
import os
import sys
from typing import TYPE_CHECKING

from gpiod import LineSettings, request_lines
from gpiod.line import Direction, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

LINES = (5, 6, 13, 19, 26)


def main(arguments: list[str]) -> None:
    levels: dict[int, int] = dict.fromkeys(LINES, 0)
    levels.update(
        (int(offset), int(level)) for offset, _, level in (given.partition("=") for given in arguments)
    )
    for path in glob.glob("/sys/class/gpio/gpio[0-9]*"):
        with open("/sys/class/gpio/unexport", "w") as file:
            file.write(os.path.basename(path).removeprefix("gpio"))
    outputs: dict[Iterable[int | str] | int | str, LineSettings | None] = {
        offset: LineSettings(
            direction=Direction.OUTPUT, output_value=Value.ACTIVE if level else Value.INACTIVE
        )
        for offset, level in levels.items()
    }
    with request_lines("/dev/gpiochip0", outputs) as request:
        request.reconfigure_lines(dict.fromkeys(outputs, LineSettings(direction=Direction.INPUT)))


if __name__ == "__main__":
    main(sys.argv[1:])
