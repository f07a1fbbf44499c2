"""The I2C bus that a HAT's expander is on: the firmware's part, and the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .boot_config import enables_i2c, with_i2c
from .steps import Run, Step, Write
from .text import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .facts import Bus, Facts
    from .steps import Action

__all__ = ["i2c_steps"]

_HEADER_BUS = 1
_MODULES = "/etc/modules-load.d/rpi-clusterhat.conf"


def i2c_steps(facts: Facts, notes: list[str]) -> Iterable[Step]:
    """Yields the steps that give programs the buses that are needed."""
    for bus in facts.buses:
        if not bus.adapter:
            yield from _adapter(facts, bus, notes)
    ours = facts.pi and any(bus.number == _HEADER_BUS for bus in facts.buses)
    if ours or any(bus.adapter for bus in facts.buses):
        yield from _devices(facts)


def _adapter(facts: Facts, bus: Bus, notes: list[str]) -> Iterable[Step]:
    missing = f"This machine has no I2C bus {bus.number}"
    if not facts.pi:
        notes.append(
            f"{missing}, and how one is switched on differs from board to board: look it up in your board's "
            f"manual (with Armbian: armbian-config), or name the right bus with --bus."
        )
    elif bus.number != _HEADER_BUS:
        notes.append(f"{missing}: that of a Raspberry Pi's header is {_HEADER_BUS}. Which one is the HAT on?")
    elif facts.config is None:
        notes.append(
            f"{missing}, and there is no /boot/firmware/config.txt: add 'dtparam=i2c_arm=on' to the "
            f"config.txt of the boot partition, and reboot."
        )
    elif enables_i2c(facts.config[1]):
        notes.append(f"I2C is on in {facts.config[0]}: reboot this machine so that it counts.")
    else:
        path, text = facts.config
        live: tuple[Action, ...] = ()
        if "dtparam" in facts.tools:
            live = (Run((facts.tools["dtparam"], "i2c_arm=on"), needed=False),)
        actions = (Write(path, with_i2c(text)), *live)
        yield Step("I2C bus", f"switch on I2C in {path}", "v2 and v3 HATs are on this bus", actions)


def _devices(facts: Facts) -> Iterable[Step]:
    if facts.loads_i2c and facts.has_i2c_devices:
        return
    actions: list[Action] = []
    if not facts.loads_i2c:
        actions.append(Write(_MODULES, shipped("modules.conf")))
    if not facts.has_i2c_devices and "modprobe" in facts.tools:
        actions.append(Run((facts.tools["modprobe"], "i2c-dev")))
        if facts.udevd:
            actions.append(Run((facts.tools["udevadm"], "settle", "--timeout=30")))
    if actions:
        what = "load the kernel's module i2c-dev, now and at each start"
        yield Step("i2c-dev", what, "it makes /dev/i2c-1", tuple(actions))
