"""The backend ``i2c``: the expander of a v2.x or v3.x Cluster HAT, through the kernel's I2C devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import OpenRequest, Option, Parser, Plugin, parse_int

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import Backend

__all__ = ["plugin"]

_number = parse_int(0, 1023)


def _parse_bus(text: str) -> int | str:
    if text.startswith("/"):
        return text
    try:
        return _number(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a device such as /dev/i2c-1") from None


_ADDRESSES = range(0x20, 0x28)
"""Those of a PCA9554 and an XRA1200P, by their datasheets; a HAT's solder jumpers give the first four."""


def _parse_address(text: str) -> int:
    """Reads an address with its ``0x``: without, the digits that i2cdetect shows could be decimal ones."""
    if text.lower().startswith("0x"):
        try:
            address = int(text, 16)
        except ValueError:
            address = 0
        if address in _ADDRESSES:
            return address
    raise ValueError(_EXPECTED)


_EXPECTED = "an expander's address, from 0x20 to 0x27, written with 0x"
_address = Parser(_parse_address, (int,), expected=_EXPECTED, write=hex)


def _open(request: OpenRequest) -> Backend:
    from .backend import open_backend

    return open_backend(request)


def _check(options: Mapping[str, Any]) -> None:
    from .backend import check

    check(options)


plugin = Plugin(
    summary="a v2.x or v3.x HAT's expander, on an I2C bus of the kernel (needs smbus2)",
    options=(
        Option("bus", _parse_bus, 1, "number or device of the I2C bus"),
        Option("address", _address, 0x20, "7-bit address of the expander"),
    ),
    open=_open,
    check=_check,
)
