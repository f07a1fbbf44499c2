"""The kernel's I2C buses: opening one, and what to say where that fails."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendUnavailableError, DeviceNotFoundError, MissingDependencyError

from .registers import bus_path

if TYPE_CHECKING:
    from .registers import Bus

__all__ = ["open_bus"]


def open_bus(bus: int | str) -> Bus:
    """Opens a bus by its number or device, without a transaction. Raises `BackendUnavailableError`.

    Tests put another function in its place that returns a `rpi_clusterhat.testing.FakeSMBus`.
    """
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise MissingDependencyError(
            "the backend i2c needs smbus2: pip install 'smbus2>=0.4.3'", name="smbus2"
        ) from error
    opened = SMBus()
    try:
        opened.open(bus)
    except OSError as error:
        opened.close()
        raise _unavailable(bus, error) from error
    return opened


def _unavailable(bus: int | str, error: OSError) -> BackendUnavailableError:
    path = bus_path(bus)
    from rpi_clusterhat._setup_command import setup_command
    from rpi_clusterhat.hardware.gpio import access_denied
    from rpi_clusterhat.hardware.permission import container_remedy

    if isinstance(error, PermissionError):
        return access_denied("open", path, "i2c")
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        folder = os.path.dirname(path)
        try:
            names = sorted(name for name in os.listdir(folder) if name.startswith("i2c-"))
        except OSError:
            names = []
        there = ", ".join(os.path.join(folder, name) for name in names)
        remedy = f"there are {there}: choose one with '-o bus='" if there else "there is no other bus"
        container = container_remedy(path)
        return DeviceNotFoundError(
            f"there is no bus {path}: enable I2C with '{setup_command()}'"
            f"{container and ', and '}{container}; {remedy}"
        )
    if error.errno == errno.ENOTTY:
        return DeviceNotFoundError(f"{path} is no I2C bus: give its number or a device such as /dev/i2c-1")
    return BackendUnavailableError(f"cannot open {path}: {error.strerror}")
