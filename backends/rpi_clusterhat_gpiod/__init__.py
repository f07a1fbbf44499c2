"""The backend ``gpiod``: lines of a GPIO character device, by libgpiod 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Option, Parser, Plugin, parse_bool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import Backend, OpenRequest

__all__ = ["plugin"]


def _parse_chip(text: str) -> str:
    if not text.strip():
        raise ValueError("a path, a name such as gpiochip0 or a label such as pinctrl-bcm2711")
    return text.strip()


def _parse_persist(text: str) -> str:
    if text.strip().lower() == "auto":
        return "auto"
    try:
        return "yes" if parse_bool(text) else "no"
    except ValueError:
        raise ValueError("auto, yes or no") from None


def _open(request: OpenRequest) -> Backend:
    from .backend import open_backend

    return open_backend(request)


def _check(options: Mapping[str, Any]) -> None:
    from .chips import open_chip

    open_chip(options["chip"]).close()


plugin = Plugin(
    "GPIO lines through the kernel's character device (libgpiod 2)",
    (
        Option(
            "chip",
            _parse_chip,
            None,
            "path, name or label of the GPIO chip (default: that of the 40-pin header)",
        ),
        Option(
            "persist",
            Parser(_parse_persist, (str, bool)),
            "auto",
            "whether the chip keeps outputs when their lines are released: yes, no or auto (find out)",
        ),
    ),
    _open,
    _check,
)
