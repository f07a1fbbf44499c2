"""The backend ``sysfs``: lines exported through the kernel's ``/sys/class/gpio``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Option, Plugin, parse_int

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import Backend, OpenRequest

__all__ = ["plugin"]


def _parse_chip(text: str) -> str:
    if not text.strip():
        raise ValueError("a label such as pinctrl-bcm2711")
    return text.strip()


def _parse_root(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("a path that begins with /")
    return text.rstrip("/")


def _open(request: OpenRequest) -> Backend:
    from .backend import open_backend

    return open_backend(request)


def _check(options: Mapping[str, Any]) -> None:
    from .chips import find_chip, require_export
    from .files import Files

    files = Files()
    find_chip(files, options["root"], options["chip"], options["base"])
    require_export(files, options["root"])


plugin = Plugin(
    "GPIO lines through /sys/class/gpio, which keep their levels",
    (
        Option("chip", _parse_chip, None, "label of the GPIO chip (default: that of the 40-pin header)"),
        Option(
            "base",
            parse_int(0, 1 << 20),
            None,
            "number of the chip's first line (default: found by the label)",
        ),
        Option("root", _parse_root, "/sys/class/gpio", "where sysfs has its GPIO folder"),
    ),
    _open,
    _check,
)
