"""What came of a command on a node."""

from __future__ import annotations

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.settings.secret import Secret

__all__ = ["Finished", "Secret"]


class Finished(Frozen):
    """A command that has ended. It is true where its exit status is 0."""

    status: int
    """Its exit status; 128 and the signal's number where a signal ended it, as a shell has it."""
    output: str
    """What it wrote to standard output and standard error, with ``\\n`` at the end of each line."""
    is_complete: bool = True
    """False where it wrote more than was kept: the output then begins in the middle."""

    def __bool__(self) -> bool:
        return self.status == 0
