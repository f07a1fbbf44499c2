"""What is a node's own in a rack: its number, name, address, devices and files."""

from __future__ import annotations

import os
from typing import NamedTuple

__all__ = ["BRIDGE", "CONTROLLER", "HTTP", "SSH", "Seat"]

BRIDGE = "hatbr0"
CONTROLLER = "10.77.0.254"
"""The address of this machine in the rack's own network."""
LAST = 253
"""The highest number of a node, for its address."""
SSH, HTTP = 22, 80
"""The ports of a node that can be reached from outside the rack's network."""


class Seat(NamedTuple):
    """The place of one node in a rack, under the names that a Cluster HAT's nodes have."""

    name: str
    """``p1`` …"""
    folder: str
    """The rack's."""

    @property
    def number(self) -> int:
        return int(self.name[1:])

    @property
    def address(self) -> str:
        """In the rack's own network."""
        return f"10.77.0.{self.number}"

    @property
    def mac(self) -> str:
        return f"02:c1:a5:00:00:{self.number:02x}"

    @property
    def device(self) -> str:
        """The network device on this machine's side, in the rack's own network."""
        return f"ethpi{self.number}"

    @property
    def console(self) -> str:
        """A link to the pseudo-terminal that is the node's serial console while it has power."""
        return os.path.join(self.folder, "dev", f"ttypi{self.number}")

    @property
    def disk(self) -> str:
        """What the node has written, over the image that all nodes share."""
        return os.path.join(self.folder, f"{self.name}.cow")

    @property
    def control(self) -> str:
        """A folder in which the node's kernel keeps what belongs to its process."""
        return os.path.join(self.folder, self.name)

    @property
    def log(self) -> str:
        """What the node's kernel said before it had a console, at its last start."""
        return os.path.join(self.folder, f"{self.name}.log")


def network(seats: list[Seat]) -> str:
    """The commands for ``ip -batch`` that make the rack's network, in a namespace that has nothing yet."""
    lines = [
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"addr add {CONTROLLER}/24 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]
    for seat in seats:
        lines += [
            f"tuntap add {seat.device} mode tap",
            f"link set {seat.device} master {BRIDGE} up",
            f"neigh replace {seat.address} lladdr {seat.mac} dev {BRIDGE} nud permanent",
        ]
    return "".join(f"{line}\n" for line in lines)
