"""What a node's console can be doing."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ConsoleState"]


class ConsoleState(StrEnum):
    """What was found on a node's console."""

    LOGIN = "login"
    """At its login prompt: nobody is logged in."""
    PASSWORD = "password"  # noqa: S105  # a state
    """Asks for a password: somebody else has begun to log in, or a program asks."""
    SHELL = "shell"
    """At the prompt of a shell: somebody is logged in."""
    BOOTING = "booting"
    """Shows messages of a boot or of a shutdown, and no prompt."""
    EMERGENCY = "emergency"
    """The boot has failed: in a shell for maintenance, at the question for it, or after a kernel panic."""
    BUSY = "busy"
    """Answers or talks, but not with a prompt: a program runs, or a prompt is only half there."""
    SILENT = "silent"
    """Nothing answers: no power, no system yet, or nothing that serves the console."""
