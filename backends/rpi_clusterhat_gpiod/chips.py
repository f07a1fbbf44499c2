"""Which chip has the lines.

The number of the header's chip differs between models and kernels, so it is found by what it says of itself.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    DeviceNotFoundError,
    MissingDependencyError,
)
from rpi_clusterhat.hardware.gpio import HEADER_LABELS, access_denied, ambiguous_chip, no_chip
from rpi_clusterhat.hardware.permission import container_remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpiod import Chip

__all__ = ["describe", "open_chip"]

_HEADER_OFFSETS = (5, 6, 16, 26)
"""Lines that every model's description names after their header pin, ``GPIO5`` and so on."""

_INSTALL = "pip install 'gpiod>=2.2'"


def open_chip(wanted: str | None, dev: str = "/dev") -> Chip:
    """Opens the chip of this path, name or label; without one, the chip of the 40-pin header.

    Requests no line. Raises `BackendUnavailableError`.
    """
    _require_gpiod()
    if wanted is not None and "/" in wanted:
        return _open(wanted)
    names = _chip_names(dev)
    if wanted in names:
        return _open(os.path.join(dev, wanted))
    return _search(wanted, [os.path.join(dev, name) for name in names])


def _require_gpiod() -> None:
    try:
        import gpiod
    except ImportError as error:
        raise MissingDependencyError(f"the Python package gpiod is not installed: {_INSTALL}") from error
    if not hasattr(gpiod, "request_lines"):
        raise MissingDependencyError(
            f"the Python package gpiod at {gpiod.__file__} is version 1, and version 2 is needed: {_INSTALL}"
        )


def _chip_names(dev: str) -> list[str]:
    names = sorted(name for name in os.listdir(dev) if name.startswith("gpiochip"))
    if not names:
        remedy = container_remedy(f"{dev}/gpiochip0") or "this kernel offers no GPIO lines to programs"
        raise DeviceNotFoundError(f"there is no {dev}/gpiochip*: {remedy}")
    return names


def _open(path: str) -> Chip:
    import gpiod

    try:
        return gpiod.Chip(path)
    except PermissionError as error:
        raise access_denied("open", path) from error
    except FileNotFoundError as error:
        raise DeviceNotFoundError(
            f"there is no {path}: name the chip by its label, such as {HEADER_LABELS[1]}"
        ) from error
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.ENODEV, errno.ENXIO, errno.EINVAL):
            raise DeviceNotFoundError(f"{path} is not a GPIO chip") from error
        raise BackendUnavailableError(f"cannot open {path}: {error.strerror}") from error


class _Chips:
    """The chips that could be opened, each once however many paths lead to it, and why others could not."""

    def __init__(self, paths: list[str]) -> None:
        self.denied: AccessDeniedError | None = None
        self._chips: dict[str, Chip] = {}
        for path in paths:
            try:
                chip = _open(path)
            except AccessDeniedError as error:
                self.denied = self.denied or error
            except BackendUnavailableError:
                continue  # it went away in this moment
            else:
                if self._chips.setdefault(chip.get_info().name, chip) is not chip:
                    chip.close()

    def __iter__(self) -> Iterator[Chip]:
        return iter(self._chips.values())

    def keep(self, kept: Chip | None) -> None:
        for chip in self:
            if chip is not kept:
                chip.close()


def describe(chip: Chip) -> str:
    """How users are told of it."""
    info = chip.get_info()
    return f"{info.name} ({info.label})"


def _search(wanted: str | None, paths: list[str]) -> Chip:
    chips = _Chips(paths)
    found: Chip | None = None
    try:
        labels = HEADER_LABELS if wanted is None else (wanted,)
        matches = [chip for chip in chips if chip.get_info().label in labels]
        if wanted is None and not matches:
            matches = [chip for chip in chips if _names_the_header(chip)]
        if len(matches) > 1:
            raise ambiguous_chip(map(describe, matches), f"chip={matches[0].path}")
        if not matches:
            if chips.denied is not None:
                raise chips.denied
            raise no_chip(wanted and f"chip called {wanted}", map(describe, chips))
        found = matches[0]
        return found
    finally:
        chips.keep(found)


def _names_the_header(chip: Chip) -> bool:
    count = chip.get_info().num_lines
    return all(
        offset < count and chip.get_line_info(offset).name == f"GPIO{offset}" for offset in _HEADER_OFFSETS
    )
