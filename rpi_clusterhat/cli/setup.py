"""The command ``setup`` makes this machine ready for a HAT.

It says what it is about to do, and asks, before it does it.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import TYPE_CHECKING

from rpi_clusterhat._setup_command import setup_command
from rpi_clusterhat.errors import BoardNotFoundError, SettingError
from rpi_clusterhat.hardware.boards import board, detect
from rpi_clusterhat.setup.machine import Machine
from rpi_clusterhat.setup.perform import perform
from rpi_clusterhat.setup.plan import make_plan
from rpi_clusterhat.setup.steps import SetupError

from .clusters import settings_of
from .exits import DONE
from .signals import Signalled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

    from rpi_clusterhat.settings import BoardSettings
    from rpi_clusterhat.setup.steps import Plan, Step

    from .output import Output
    from .signals import Signals

__all__ = ["run"]

_HEADER_BUS = 1
_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between looks at what a step has done: udev may say that it has settled before it has begun."""


def this_machine() -> Machine:
    """A test puts another one in its place."""
    return Machine()


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    machine = this_machine()
    buses = _buses(settings_of(args, out).boards, machine)
    if machine.is_container:
        raise SetupError(
            "this is a container, and it is the machine below it that is to be set up: run "
            "'rpi-clusterhat setup' there as root, then give this container the folder of locks "
            "(docker run --volume /run/rpi-clusterhat:/run/rpi-clusterhat)"
        )
    is_root = os.geteuid() == machine.owner
    users = _users(args.user, machine, is_root=is_root)

    def plan() -> Plan:
        return make_plan(machine.look(users, buses))

    found = plan()
    if not found.steps:
        out.line("nothing is left to do")
        _tell(found.notes, out)
        return DONE
    _show(found.steps, out)
    if args.dry_run or not is_root:
        _tell([*found.notes, *_after(found.steps)], out)
        out.line(f"To do this: {_again(args)}")
        if args.dry_run:
            return DONE
        raise SetupError("only root can do this, and nothing was done")
    signals.check()
    if not args.yes and not _agreed(out, signals):
        raise SetupError("nothing was done")
    for number in range(len(found.steps)):
        _do(found.steps, number, machine, plan, out, signals)
    left = plan()
    _tell([*_after(found.steps), *left.notes], out)
    if left.steps:
        raise SetupError(f"more is to do now than was seen before: run '{_again(args)}' once more")
    return DONE


# What is asked for ---------------------------------------------------------------------------------------


def _buses(boards: Iterable[BoardSettings], machine: Machine) -> list[int]:
    """The numbers of the I2C buses that boards are on, or may be on where it is not known which HAT it is."""
    found: list[int] = []
    for one in boards:
        bus = re.fullmatch(r"(?:/dev/i2c-)?(\d+)", str(one.options.get("bus", _HEADER_BUS)))
        if bus and _may_be_on_a_bus(one, machine) and int(bus[1]) not in found:
            found.append(int(bus[1]))
    return found


def _may_be_on_a_bus(one: BoardSettings, machine: Machine) -> bool:
    if one.backend is not None:
        return one.backend == "i2c"
    try:
        version = one.version or detect(machine.device_tree)
    except BoardNotFoundError:
        return True
    return board(version, where=one.origins.get("board", "")).expander


def _users(named: Sequence[str] | None, machine: Machine, *, is_root: bool) -> list[str]:
    """The users who are to switch nodes. Root needs no group for it."""
    users = list(dict.fromkeys(named or filter(None, [os.environ.get("SUDO_USER")])))
    if not users and not is_root:
        import pwd

        users = [pwd.getpwuid(os.geteuid()).pw_name]
    where = "--user" if named else "SUDO_USER"
    for user in users:
        if machine.accounts.groups_of(user) is None:
            raise SettingError(f"Invalid value for {where}: {user!r}: expected a user of this machine")
    return [user for user in users if user != "root"]


def _again(args: argparse.Namespace) -> str:
    """The line that runs this command as root, with the same options."""
    words: list[str] = []
    for name, given in args.settings.items():
        if name == "options":
            words += [word for key, one in given.value.items() for word in ("-o", f"{key}={one.value}")]
        else:
            words += [f"--{name}", str(given.value)]
    words += [word for user in args.user or () for word in ("--user", user)]
    return " ".join([setup_command(), *map(shlex.quote, words)])


# What is said --------------------------------------------------------------------------------------------


def _show(steps: Sequence[Step], out: Output) -> None:
    out.line("1 step is to be done:" if len(steps) == 1 else f"{len(steps)} steps are to be done:")
    for number, step in enumerate(steps, 1):
        out.line(f"{number}. {step.what}: {step.why}")
        for action in step.actions:
            out.line(f"     {action}")


def _tell(notes: Iterable[str], out: Output) -> None:
    for note in dict.fromkeys(notes):
        out.line(f"note: {note}")


def _after(steps: Iterable[Step]) -> list[str]:
    return [step.after for step in steps if step.after]


def _agreed(out: Output, signals: Signals) -> bool:
    out.line("Go ahead? [y/N]")
    try:
        answer = signals.interrupt(sys.stdin.readline) if sys.stdin is not None else ""
    except Signalled as signalled:
        signalled.standing = "nothing was done"
        raise
    if not answer:
        raise SetupError("nothing was done, as nobody answered: to go ahead without a question, give --yes")
    return answer.strip().lower() in ("y", "yes")


def _do(
    steps: Sequence[Step],
    number: int,
    machine: Machine,
    plan: Callable[[], Plan],
    out: Output,
    signals: Signals,
) -> None:
    step = steps[number]
    try:
        signals.check()
        perform(step, machine)
        for pause in _PAUSES:
            if not _is_left(step, plan()):
                break
            signals.sleep(pause)
        else:
            raise SetupError("all of it was done, and made no difference")
    except Signalled as signalled:
        signalled.standing = _standing(number, len(steps))
        raise
    except SetupError as error:
        raise SetupError(
            f"step {number + 1} failed ({step.what}): {error}; {_standing(number, len(steps))}"
        ) from error
    out.line(f"done: {step.what}")


def _is_left(step: Step, plan: Plan) -> bool:
    return any(left.about == step.about for left in plan.steps)


def _standing(done: int, steps: int) -> str:
    return f"{done or 'none'} of {steps} steps {'is' if done == 1 else 'are'} done"
