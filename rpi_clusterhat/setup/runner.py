"""Runs programs of the system as root."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Protocol

from .machine import SYSTEM_FOLDERS
from .steps import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Runner", "Runs"]

_SECONDS = 60.0


class Runs(Protocol):
    """What runs programs of the system."""

    def run(self, argv: Sequence[str]) -> None:
        """Runs a program to its end. Raises `SetupError` where that fails."""
        ...


class Runner:
    """Runs programs one after the other, with nothing of the caller's environment.

    Args:
        seconds: How long a program may take.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds

    def run(self, argv: Sequence[str]) -> None:
        """Runs a program to its end, in a session of its own, so that Ctrl-C does not end it half-way.

        Raises:
            SetupError: It cannot be started, takes too long, or ends with another code than 0.
        """
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": ":".join(SYSTEM_FOLDERS), "LC_ALL": "C"},
                cwd="/",
                timeout=self._seconds,
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            raise SetupError(f"{argv[0]} cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise SetupError(f"{argv[0]} did not end within {self._seconds:g} s") from None
        if done.returncode:
            said = " ".join(done.stdout.decode("utf-8", "replace").split())
            raise SetupError(f"{argv[0]} ended with the code {done.returncode}{said and ': '}{said[-500:]}")
