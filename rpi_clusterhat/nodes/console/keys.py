"""The escape key of a terminal that shows a console: everything else that is typed goes to the node."""

from __future__ import annotations

from enum import Enum

from rpi_clusterhat.validate import invalid

__all__ = ["ESCAPE", "Keys", "Wish", "key_name", "read_key"]

ESCAPE = b"\x1d"
"""Ctrl-], as that of telnet."""


class Wish(Enum):
    """What a person wants of this program, by the key that follows the escape key."""

    LEAVE = b"."
    SUSPEND = b"z"
    HELP = b"?"


class Keys:
    """Finds the escape key and its commands in what is typed. Not for several threads.

    Args:
        escape: The escape key, or ``b""`` for none.
    """

    def __init__(self, escape: bytes = ESCAPE) -> None:
        self._escape = escape
        self._escaped = False

    def typed(self, data: bytes) -> list[bytes | Wish]:
        """Returns what is for the node, and what is wished, in their order.

        The escape key twice is one for the node. Any other key after it asks for help.
        """
        found: list[bytes | Wish] = []
        rest = bytearray()
        for i in range(len(data)):
            key = data[i : i + 1]
            if self._escaped and key != self._escape:
                if rest:
                    found.append(bytes(rest))
                    rest.clear()
                found.append(next((wish for wish in Wish if wish.value == key), Wish.HELP))
                self._escaped = False
            elif key == self._escape and not self._escaped:
                self._escaped = True
            else:
                rest += key
                self._escaped = False
        return [*found, bytes(rest)] if rest else found


def read_key(text: str) -> bytes:
    """Reads the name of a key: a character, ``^A`` or ``Ctrl-A`` for one with Ctrl, or ``none``.

    Raises:
        SettingError: It is no such name.
    """
    if text.lower() == "none":
        return b""
    letter = text[5:] if text.lower().startswith("ctrl-") else text[1:] if text.startswith("^") else ""
    if len(letter) == 1 and "@" <= letter.upper() <= "_":
        return bytes([ord(letter.upper()) & 0x1F])
    if len(text) == 1 and text.isascii() and text.isprintable():
        return text.encode()
    raise invalid("escape", text, "a character, '^A' or 'Ctrl-A' for one with Ctrl, or 'none'")


def key_name(key: bytes) -> str:
    """Returns what a person calls a key."""
    return f"Ctrl-{chr(key[0] | 0x40)}" if key < b" " else key.decode("ascii")
