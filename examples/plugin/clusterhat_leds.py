"""A backend for lines that the kernel offers as LEDs, such as ``/sys/class/leds/relay0/brightness``.

Relay boards on ``gpio-leds`` are one example. The kernel keeps an LED's state when a program ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import AccessDeniedError, BusError, ClosedError, DeviceNotFoundError
from rpi_clusterhat.hardware.backend import OpenRequest, Option, Plugin

if TYPE_CHECKING:
    from collections.abc import Mapping


class LedBackend:
    """Line N is the LED whose name is the prefix followed by N."""

    holds_levels = True

    def __init__(self, request: OpenRequest) -> None:
        root, prefix = request.options["root"], request.options["prefix"]
        self._paths = {
            line.offset: os.path.join(root, f"{prefix}{line.offset}", "brightness") for line in request.lines
        }
        self._closed = False
        for path in self._paths.values():
            if not os.path.exists(path):
                raise DeviceNotFoundError(f"there is no {path}: say with prefix= how the LEDs' names begin")
            if not os.access(path, os.R_OK | os.W_OK):
                raise AccessDeniedError(f"this user may not write {path}: let a udev rule give it to a group")

    def read(self) -> dict[int, bool]:
        self._check_open()
        return {offset: self._brightness(path) for offset, path in self._paths.items()}

    def write(self, levels: Mapping[int, bool]) -> None:
        self._check_open()
        for offset in levels:
            if offset not in self._paths:
                raise ValueError(f"line {offset} is not open: open are {sorted(self._paths)}")
        for offset, level in levels.items():
            try:
                with open(self._paths[offset], "w", encoding="ascii") as file:
                    file.write("1" if level else "0")
            except OSError as error:
                raise BusError(error.errno, f"{self._paths[offset]}: {error.strerror}") from error

    def close(self) -> None:
        self._closed = True

    def _brightness(self, path: str) -> bool:
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip() != "0"
        except OSError as error:
            raise BusError(error.errno, f"{path}: {error.strerror}") from error

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the backend leds was closed: open a new one")


plugin = Plugin(
    summary="lines that the kernel offers as LEDs",
    options=(
        Option("root", str, "/sys/class/leds", "the folder with the LEDs"),
        Option("prefix", str, "relay", "what the names of the LEDs begin with"),
    ),
    open=LedBackend,
)
