"""The commands of the vendor's tool ``clusterctrl`` that are none here, and what there is instead."""

from __future__ import annotations

__all__ = ["WORDS", "explain"]

_USB_BOARD = "a USB board (ClusterCTRL)"
_NO_USB_BOARDS = "USB boards are not supported"
_BOARDS_FILE = "write several boards to the settings file in their order"

WORDS: dict[str, tuple[str, str]] = {
    "help": ("shows the usage", "use 'rpi-clusterhat --help'"),
    "maxpi": ("shows the number of nodes", "count the nodes that 'rpi-clusterhat status' shows"),
    "getpath": ("shows which USB port each node is at", "use 'udevadm info /dev/ttypi1' for p1"),
    "fan": (
        f"switches the controller's fan, or that of {_USB_BOARD}",
        "use 'pinctrl set 18 op dh' to switch a fan at GPIO 18 on, 'pinctrl set 18 op dl' to switch it off",
    ),
    "act": (f"switches the ACT LED of {_USB_BOARD}", _NO_USB_BOARDS),
    "usbboot": (f"sets which nodes of {_USB_BOARD} boot over USB", _NO_USB_BOARDS),
    "reset": (
        f"resets {_USB_BOARD}",
        "use 'rpi-clusterhat hub reset' for a HAT's hub, 'rpi-clusterhat cycle p1' for a node",
    ),
    "setorder": (f"changes the place of {_USB_BOARD} among several", _BOARDS_FILE),
    "save": (f"stores the settings of {_USB_BOARD}", "write settings to the settings file"),
    "saveorder": (f"stores the place of {_USB_BOARD} among several", _BOARDS_FILE),
    "saveusbboot": (f"stores which nodes of {_USB_BOARD} boot over USB", _NO_USB_BOARDS),
    "savepos": (
        f"stores which nodes of {_USB_BOARD} are on when it gets power",
        "run 'rpi-clusterhat on' from a systemd service",
    ),
    "savedefaults": (f"stores the factory settings of {_USB_BOARD}", _NO_USB_BOARDS),
}
"""What each does there, and what to do here, by the command's name; both without a full stop."""


def explain(word: str) -> str:
    """Says what a command of the vendor's tool does, and what to do here."""
    does, instead = WORDS[word]
    return f"'{word}' of the vendor's clusterctrl {does}; here, {instead}"
