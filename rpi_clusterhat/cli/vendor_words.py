"""The commands of the vendor's tool ``clusterctrl`` that are none here, and what there is instead."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WORDS", "VendorWord", "explain"]


class VendorWord(NamedTuple):
    """A command of the vendor's tool. Both texts stand without a full stop."""

    does: str
    """What it does there."""
    instead: str
    """What to do here."""


_USB_BOARD = "a USB board (ClusterCTRL)"
_NO_USB_BOARDS = "USB boards are not supported"
_BOARDS_FILE = "write several boards to the settings file in their order"

WORDS = {
    "help": VendorWord("shows the usage", "use 'rpi-clusterhat --help'"),
    "maxpi": VendorWord("shows the number of nodes", "count the nodes that 'rpi-clusterhat status' shows"),
    "getpath": VendorWord("shows which USB port each node is at", "use 'udevadm info /dev/ttypi1' for p1"),
    "fan": VendorWord(
        f"switches the controller's fan, or that of {_USB_BOARD}",
        "use 'pinctrl set 18 op dh' to switch a fan at GPIO 18 on, 'pinctrl set 18 op dl' to switch it off",
    ),
    "act": VendorWord(f"switches the ACT LED of {_USB_BOARD}", _NO_USB_BOARDS),
    "usbboot": VendorWord(f"sets which nodes of {_USB_BOARD} boot over USB", _NO_USB_BOARDS),
    "reset": VendorWord(
        f"resets {_USB_BOARD}",
        "use 'rpi-clusterhat hub reset' for a HAT's hub, 'rpi-clusterhat cycle p1' for a node",
    ),
    "setorder": VendorWord(f"changes the place of {_USB_BOARD} among several", _BOARDS_FILE),
    "save": VendorWord(f"stores the settings of {_USB_BOARD}", "write settings to the settings file"),
    "saveorder": VendorWord(f"stores the place of {_USB_BOARD} among several", _BOARDS_FILE),
    "saveusbboot": VendorWord(f"stores which nodes of {_USB_BOARD} boot over USB", _NO_USB_BOARDS),
    "savepos": VendorWord(
        f"stores which nodes of {_USB_BOARD} are on when it gets power",
        "run 'rpi-clusterhat on' from a systemd service",
    ),
    "savedefaults": VendorWord(f"stores the factory settings of {_USB_BOARD}", _NO_USB_BOARDS),
}
"""By the command's name."""


def explain(word: str) -> str:
    """Says what a command of the vendor's tool does, and what to do here."""
    does, instead = WORDS[word]
    return f"'{word}' of the vendor's clusterctrl {does}; here, {instead}"
