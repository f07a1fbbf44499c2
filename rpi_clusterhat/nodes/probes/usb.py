"""A probe that looks for the node among the controller's USB devices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rpi_clusterhat import validate
from rpi_clusterhat.waiting import Call

from .probe import Probe, Verdict
from .timed import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps


class UsbProbe(Probe):
    """The node is up when the controller's kernel sees it as a USB device, which needs no network.

    Of the devices of ``vendor`` 3171 only nodes count (products 002x), not the vendor's own boards and hubs.
    There is no time-out: the kernel answers at once unless it is busy with this very device.

    Args:
        serial: The device's serial number, which is the node's number with the vendor's images.
        vendor: Four hexadecimal digits, or None for any vendor.
        root: The folder in which the kernel lists its USB devices.

    Raises:
        SettingError: An argument is invalid.
    """

    __slots__ = ("root", "serial", "vendor")

    def __init__(
        self, serial: str | int, *, vendor: str | None = "3171", root: str = "/sys/bus/usb/devices"
    ) -> None:
        self.serial = _serial(serial)
        self.vendor = _vendor(vendor)
        self.root = root

    def __repr__(self) -> str:
        return f"<UsbProbe {self.serial}>"

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        if left() <= 0:
            return Verdict(False, f"no time was left to look for USB device {self.serial}")
        verdict: Verdict = yield Call(self._look)  # may wait for the kernel, which is busy with the device
        return verdict

    def _look(self) -> Verdict:
        try:
            devices = sorted(os.listdir(self.root))
        except OSError as error:
            return Verdict(False, f"{describe(error)}: {self.root}")
        for device in devices:
            vendor, product, serial = (
                self._attribute(device, name) for name in ("idVendor", "idProduct", "serial")
            )
            if serial != self.serial or self.vendor not in (None, vendor):
                continue
            if self.vendor != "3171" or product.startswith("002"):
                return Verdict(True, f"USB device {device} has the serial number {self.serial}")
        whose = "" if self.vendor is None else f" of vendor {self.vendor}"
        return Verdict(False, f"no USB device{whose} has the serial number {self.serial}")

    def _attribute(self, device: str, name: str) -> str:
        try:
            with open(os.path.join(self.root, device, name), encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:  # an interface, which has no such attribute, or a device that just left
            return ""


def _serial(serial: Any) -> str:
    if isinstance(serial, str | int) and not isinstance(serial, bool):
        text = str(serial)
        if text and text.isprintable() and text == text.strip():
            return text
    raise validate.invalid("serial", serial, "the device's serial number, such as 3")


def _vendor(vendor: Any) -> str | None:
    if vendor is None:
        return None
    if isinstance(vendor, str) and len(vendor) == 4 and not set(vendor.lower()) - set("0123456789abcdef"):
        return vendor.lower()
    raise validate.invalid("vendor", vendor, "four hexadecimal digits, or None for any")
