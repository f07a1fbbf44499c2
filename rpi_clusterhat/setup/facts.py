"""What is known of a machine before anything on it is changed: plain data, from which a plan is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["Bus", "Device", "Facts", "Place"]


class Device(Frozen):
    """A device, or a file that stands for one."""

    path: str
    group: str
    """The name of its group, or the number where there is no name."""
    open_to_group: bool
    """Whether its group may use it, and is not root's."""


class Bus(Frozen):
    """An I2C bus that a HAT may be on."""

    number: int
    adapter: bool
    """Whether the kernel has the bus."""
    device: Device | None
    """Its file in ``/dev``; None where there is none."""


class Place(Frozen):
    """What is at a path."""

    kind: str
    """``nothing``, ``folder``, or ``other``: a symbolic link or anything else."""
    owner: int = -1
    group: int = -1
    mode: int = 0


class Facts(Frozen):
    """What `plan` decides from."""

    tools: Mapping[str, str]
    """The programs of the system that there are: path by name."""
    systemd: bool
    """Whether systemd has started this machine."""
    udevd: bool
    """Whether udev is running, and can be told to read its rules."""
    groups: Mapping[str, int]
    """Number by name, of the groups that matter here."""
    users: Mapping[str, Collection[str]]
    """The users who are to switch nodes, each with the groups that the user is in by the user database."""
    root: int
    """The number of the user root."""
    buses: tuple[Bus, ...]
    """The I2C buses that are needed; empty where the HAT needs none."""
    gpio: tuple[Device, ...]
    """The GPIO chips."""
    sysfs: Device | None
    """The file that exports lines, where the kernel has it and a chip to go with it."""
    rules: Mapping[str, str]
    """Text by name of each file of udev rules."""
    tmpfiles: Mapping[str, tuple[str, str]]
    """Path and text by name of each file of tmpfiles.d."""
    locks: Place
    """The lock folder."""
    loads_i2c: bool
    """Whether the system gives programs the I2C buses at each start."""
    has_i2c_devices: bool
    """Whether the kernel gives programs the I2C buses now."""
    pi: bool
    """Whether this is a Raspberry Pi."""
    config: tuple[str, str] | None
    """Path and text of the firmware's ``config.txt``."""
