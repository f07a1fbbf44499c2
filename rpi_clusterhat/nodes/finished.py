"""What came of a command on a node, and a secret that no text shows."""

from __future__ import annotations

from rpi_clusterhat._frozen import Frozen

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


class Secret:
    """A password or passphrase, which neither `str` nor `repr` shows, and which cannot be pickled."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Returns the secret itself: to be sent, and to be kept nowhere."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> str:
        raise TypeError("a secret cannot be pickled")
