"""Odd conditions under which a command is run: streams that are full or closed, an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FULL", "Condition"]

_TIMEOUT = 60
FULL = "cannot write the output: No space left on device"


class Condition(NamedTuple):
    shell: str
    """What a shell runs, with the command as its arguments."""
    code: int = 0
    """The exit code of a command that would succeed."""
    error: str = ""
    """What such a command says on standard error."""
    heard: bool = True
    """Whether it is seen what is said on standard error."""

    def run(
        self, place: Path, module: str, argv: list[str], **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a module's command in a new folder in ``place``, in an environment without settings."""
        folder = place / "work"
        folder.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RPI_", "PYTHON"))}
        read, write = os.pipe()
        os.close(read)
        try:
            return subprocess.run(
                ["sh", "-c", self.shell, "sh", sys.executable, "-m", module, *argv],
                cwd=folder,
                env={**kept, **variables},
                stdin=subprocess.DEVNULL,
                stdout=write if self.code == 141 else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
        finally:
            os.close(write)
            shutil.rmtree(folder)
