"""Where a chip's numbers begin.

Lines have numbers of their own here, the chip's base plus the offset, and the base differs between models and
kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat.errors import DeviceNotFoundError
from rpi_clusterhat.hardware.gpio import HEADER_LABELS, access_denied, ambiguous_chip, no_chip

if TYPE_CHECKING:
    from .files import Files

__all__ = ["SysfsChip", "find_chip", "require_export"]


class SysfsChip(NamedTuple):
    """A chip as its folder describes it."""

    path: str
    label: str
    base: int
    num_lines: int

    def __str__(self) -> str:
        return f"{self.label} (from {self.base})"


def find_chip(files: Files, root: str, label: str | None, base: int | None) -> SysfsChip:
    """The chip of this label or base; without either, that of the 40-pin header.

    Raises `BackendUnavailableError`.
    """
    if not files.exists(f"{root}/export"):
        raise DeviceNotFoundError(
            f"there is no {root}/export: this kernel has no GPIO in sysfs; use the backend gpiod"
        )
    chips = _chips(files, root)
    matches = [chip for chip in chips if base in (None, chip.base)]
    if label is not None or base is None:
        labels = HEADER_LABELS if label is None else (label,)
        matches = [chip for chip in matches if chip.label in labels]
    if len(matches) > 1:
        raise ambiguous_chip(matches, f"base={matches[0].base}")
    if not matches:
        what = None if label is None else f"chip with the label {label}"
        if base is not None:
            what = f"{what or 'chip'} whose lines begin at {base}"
        raise no_chip(what, chips, where=root)
    return matches[0]


def _chips(files: Files, root: str) -> list[SysfsChip]:
    chips: dict[int, SysfsChip] = {}
    for name in sorted(files.names(root)):
        path = f"{root}/{name}"
        if not name.startswith("gpiochip"):
            continue
        try:
            base, count = int(files.read(f"{path}/base")), int(files.read(f"{path}/ngpio"))
            chips[base] = SysfsChip(path, files.read(f"{path}/label"), base, count)
        except FileNotFoundError:
            continue  # it went away in this moment
    return list(chips.values())


def require_export(files: Files, root: str) -> None:
    """Raises `AccessDeniedError` where this user may not export lines."""
    if not files.writable(f"{root}/export"):
        raise access_denied("write", f"{root}/export")
