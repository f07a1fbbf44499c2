"""A secret that no text shows."""

from __future__ import annotations

__all__ = ["Secret"]


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
