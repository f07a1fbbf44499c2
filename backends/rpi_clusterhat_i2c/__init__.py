"""The backend ``i2c``: the expander of a v2.x or v3.x Cluster HAT, through the kernel's I2C devices."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    BusError,
    DeviceNotFoundError,
    MissingDependencyError,
)
from rpi_clusterhat.hardware.backend import OpenRequest, Option, Plugin, parse_int

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .expander import I2CBackend
    from .registers import Bus

__all__ = ["open_bus", "plugin"]

_number = parse_int(0, 1023)


def _parse_bus(text: str) -> int | str:
    if text.startswith("/"):
        return text
    try:
        return _number(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a device such as /dev/i2c-1") from None


def open_bus(bus: int | str) -> Bus:
    """Opens a bus by its number or device, without a transaction. Raises `BackendUnavailableError`.

    Tests put another function in its place that returns a `rpi_clusterhat.testing.FakeSMBus`.
    """
    try:
        from smbus2 import SMBus
    except ImportError as error:
        raise MissingDependencyError(
            "the backend i2c needs smbus2: pip install 'rpi-clusterhat[i2c]'", name="smbus2"
        ) from error
    opened = SMBus()
    try:
        opened.open(bus)
    except OSError as error:
        opened.close()
        raise _unavailable(bus, error) from error
    return opened


def _unavailable(bus: int | str, error: OSError) -> BackendUnavailableError:
    from .registers import bus_path

    path = bus_path(bus)
    if isinstance(error, PermissionError):
        return AccessDeniedError(
            f"this user may not open {path}: join the group i2c (sudo usermod -aG i2c $USER), log in again"
        )
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        folder = os.path.dirname(path)
        try:
            names = sorted(name for name in os.listdir(folder) if name.startswith("i2c-"))
        except OSError:
            names = []
        there = ", ".join(os.path.join(folder, name) for name in names)
        remedy = f"there are {there}: choose one with '-o bus='" if there else "there is no other bus"
        return DeviceNotFoundError(
            f"there is no bus {path}: enable I2C with 'sudo raspi-config nonint do_i2c 0'; {remedy}"
        )
    if error.errno == errno.ENOTTY:
        return DeviceNotFoundError(f"{path} is no I2C bus: give its number or a device such as /dev/i2c-1")
    return BackendUnavailableError(f"cannot open {path}: {error.strerror}")


def _open(opening: OpenRequest) -> I2CBackend:
    from .expander import I2CBackend

    bus = open_bus(opening.options["bus"])
    try:
        return I2CBackend(bus, opening)
    except BaseException:
        bus.close()
        raise


def _check(options: Mapping[str, Any]) -> None:
    """Opens the bus and reads a register: writes nothing."""
    from rpi_clusterhat.clock import SYSTEM

    from .registers import DIRECTION, Registers

    registers = Registers(open_bus(options["bus"]), options["bus"], options["address"], clock=SYSTEM)
    try:
        registers.get(DIRECTION)
    except BusError as error:
        raise DeviceNotFoundError(error.strerror) from error
    finally:
        registers.close()


plugin = Plugin(
    summary="a v2.x or v3.x HAT's expander, on an I2C bus of the kernel (needs smbus2)",
    options=(
        Option("bus", _parse_bus, 1, "number or device of the I2C bus"),
        Option("address", parse_int(0x03, 0x77, form="x"), 0x20, "7-bit address of the expander"),
    ),
    open=_open,
    check=_check,
)
