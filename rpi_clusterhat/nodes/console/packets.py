"""What the program that has a console open and those that share it say to each other.

One packet is one message of a sequenced-packet socket: a byte that says what it is, and what there is to say.
"""

from __future__ import annotations

__all__ = ["CHUNK", "VERSION", "Kind", "packet"]

CHUNK = 4096
"""Bytes of input or output in one packet at most."""

VERSION = b"1"
"""That of what is said here. Programs with another one do not share consoles."""


class Kind:
    """The first byte of a packet."""

    # To the program that has the console open:
    HELLO = b"h"
    """The version, the role's byte and the name: the first packet."""
    INPUT = b"i"
    ASK = b"a"
    """For the turn."""
    END = b"e"
    """Of the turn."""

    # From it:
    WELCOME = b"w"
    """The version, and the name of who has the console open: the answer to the hello."""
    OUTPUT = b"o"
    SKIPPED = b"s"
    """How many bytes of output were left out here, in decimal digits."""
    TURN = b"t"
    """``1`` where what this member writes is sent now, else ``0``; then which program has the turn."""
    RETURNED = b"r"
    """Input that was not sent any more."""
    GONE = b"g"
    """The console has ended."""
    FAILED = b"f"
    """The same, and why."""


def packet(kind: bytes, data: bytes = b"") -> bytes:
    """Returns a packet."""
    return kind + data
