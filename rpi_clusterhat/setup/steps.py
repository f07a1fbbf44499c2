"""What a plan is made of."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import ClusterHatError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Action", "Folder", "Plan", "Run", "SetupError", "Step", "Write"]


class SetupError(ClusterHatError):
    """Something about this machine does not let it be set up. The text says what to do."""


class Run(Frozen):
    """Runs a command."""

    argv: tuple[str, ...]
    """The program's whole path, and its arguments."""
    needed: bool = True
    """Whether the step has failed when the command fails."""

    def __str__(self) -> str:
        return shlex.join(self.argv)


class Write(Frozen):
    """Writes a file, whole or not at all."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"write {self.path}"


class Folder(Frozen):
    """Makes a folder that belongs to root and a group, or puts right the one that is there."""

    path: str
    mode: int
    group: str

    def __str__(self) -> str:
        return f"make {self.path} with the owner root, the group {self.group} and the mode {self.mode:04o}"


Action = Run | Write | Folder


class Step(Frozen):
    """One thing that is missing, and how to get it."""

    about: str
    """Such as ``GPIO chips``. Once the step is done, no step of a plan is about the same."""
    what: str
    """Such as ``write udev rules for the GPIO chips``."""
    why: str
    actions: tuple[Action, ...]
    after: str = ""
    """What a person has to do once it is done; empty where that is nothing."""


class Plan(Frozen):
    """What is missing on a machine. Where nothing is, there are no steps."""

    steps: Sequence[Step]
    notes: Sequence[str]
    """What a person has to do or to know, in sentences."""
