"""Does the steps of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .placing import place_file, place_folder
from .runner import Runner
from .steps import Folder, Run, SetupError, Write

if TYPE_CHECKING:
    from .machine import Machine
    from .runner import Runs
    from .steps import Action, Step

__all__ = ["perform"]


def perform(step: Step, machine: Machine, runner: Runs | None = None) -> None:
    """Does one step, action after action.

    Raises:
        SetupError: An action failed. Those before it are done, and stay.
    """
    for action in step.actions:
        _act(action, machine, runner or Runner())


def _act(action: Action, machine: Machine, runner: Runs) -> None:
    match action:
        case Run():
            try:
                runner.run(action.argv)
            except SetupError:
                if action.needed:
                    raise
        case Write():
            place_file(machine.root, machine.owner, action.path, action.text)
        case Folder():
            group = machine.accounts.group(action.group)
            if group is None:
                raise SetupError(f"there is no group {action.group}")
            place_folder(machine.root, machine.owner, action.path, action.mode, group)
