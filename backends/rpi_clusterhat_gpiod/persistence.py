"""Whether a chip's outputs keep their level when their lines are released."""

from __future__ import annotations

import os

__all__ = ["keeps_outputs"]


def keeps_outputs(chip_name: str, sysfs: str = "/sys") -> bool:
    """What the kernel says of this chip, by its name (``gpiochip0``); False where it says nothing.

    The pin controllers of the Raspberry Pi have a parameter for it. The registers of an expander keep what
    was written last, since its driver does nothing on release.
    """
    device = os.path.dirname(os.path.realpath(f"{sysfs}/bus/gpio/devices/{chip_name}"))
    driver = f"{device}/driver"
    name = os.path.basename(os.path.realpath(driver))
    if name == "pca953x":
        return True
    # A driver that is built in may have no link to its module.
    modules = (f"{driver}/module", f"{sysfs}/module/{name.replace('-', '_')}")
    return any(_is_on(f"{module}/parameters/persist_gpio_outputs") for module in modules)


def _is_on(parameter: str) -> bool:
    try:
        with open(parameter, encoding="ascii") as file:
            return file.read().strip() in ("Y", "1")
    except OSError:
        return False
