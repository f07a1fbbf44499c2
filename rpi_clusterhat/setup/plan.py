"""Decides what is missing on a machine, from facts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

from .access import access_groups, access_steps
from .i2c import i2c_steps
from .steps import Folder, Plan, Run, SetupError, Step, Write
from .text import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .facts import Facts

__all__ = ["LOCK_GROUP", "LOCK_MODE", "make_plan"]

LOCK_GROUP = "gpio"
LOCK_MODE = 0o2770
_ENTRY = "/etc/tmpfiles.d/rpi-clusterhat.conf"


def make_plan(facts: Facts) -> Plan:
    """Returns the steps that are missing, each after those that it needs.

    Raises:
        SetupError: Something is in the way that only a person can decide about.
    """
    notes: list[str] = []
    needed = sorted({LOCK_GROUP, *access_groups(facts)})
    steps = [
        *_groups(facts, needed),
        *_locks(facts, notes),
        *access_steps(facts, notes),
        *i2c_steps(facts, notes),
        *_users(facts, needed),
    ]
    return Plan(tuple(steps), tuple(notes))


def _groups(facts: Facts, needed: Iterable[str]) -> Iterable[Step]:
    for group in needed:
        if group in facts.groups:
            continue
        if "groupadd" in facts.tools:
            command = (facts.tools["groupadd"], "--system", group)
        elif "addgroup" in facts.tools:
            command = (facts.tools["addgroup"], "-S", group)
        else:
            raise SetupError(f"there is neither groupadd nor addgroup here: create the group {group}")
        why = "its members may switch nodes" if group == LOCK_GROUP else "its members may use the I2C bus"
        yield Step(f"group {group}", f"create the group {group}", why, (Run(command),))


def _users(facts: Facts, needed: Iterable[str]) -> Iterable[Step]:
    for user, own in facts.users.items():
        missing = [group for group in needed if group not in own]
        if not missing:
            continue
        listed = " and ".join(missing)
        if "usermod" in facts.tools:
            commands: list[tuple[str, ...]] = [(facts.tools["usermod"], "-aG", ",".join(missing), user)]
        elif "addgroup" in facts.tools:
            commands = [(facts.tools["addgroup"], user, group) for group in missing]
        else:
            raise SetupError(f"there is neither usermod nor addgroup here: put {user} into {listed}")
        yield Step(
            f"user {user}",
            f"put {user} into the group{'s' if len(missing) > 1 else ''} {listed}",
            f"so that {user} can switch nodes without sudo",
            tuple(map(Run, commands)),
            f"{user} has to log out and in again: a session keeps the groups that it began with.",
        )


def _locks(facts: Facts, notes: list[str]) -> Iterable[Step]:
    if facts.locks.kind == "other":
        raise SetupError(
            f"{DEFAULT_LOCK_DIR} is no folder, and programs that switch nodes share their locks there: "
            f"find out what made it, and remove it"
        )
    right = (facts.root, facts.groups.get(LOCK_GROUP), LOCK_MODE)
    is_right = facts.locks.kind == "folder" and right == (
        *(facts.locks.owner, facts.locks.group, facts.locks.mode),
    )
    tool = facts.tools.get("systemd-tmpfiles")
    if tool is None:
        if not is_right:
            what = "make" if facts.locks.kind == "nothing" else "put right"
            yield Step(
                "locks",
                f"{what} the folder {DEFAULT_LOCK_DIR}",
                "programs that switch nodes share their locks there",
                (Folder(DEFAULT_LOCK_DIR, LOCK_MODE, LOCK_GROUP),),
            )
        notes.append(
            f"There is no systemd-tmpfiles here: have 'install -d -o root -g {LOCK_GROUP} -m {LOCK_MODE:o} "
            f"{DEFAULT_LOCK_DIR}' run at each start of this machine, before anything that switches nodes."
        )
        return
    path = _entry(facts)
    if path is None or not is_right:
        written = () if path else (Write(_ENTRY, shipped("tmpfiles.conf")),)
        yield Step(
            "locks",
            f"have the folder {DEFAULT_LOCK_DIR} made, now and at each start",
            "programs that switch nodes share their locks there",
            (*written, Run((tool, "--create", path or _ENTRY))),
        )
    if not facts.systemd:
        notes.append(
            "systemd has not started this machine: check that 'systemd-tmpfiles --create' runs at each start."
        )


def _entry(facts: Facts) -> str | None:
    """The file of tmpfiles.d that has the lock folder made as it ought to be."""
    for path, text in facts.tmpfiles.values():
        for line in text.splitlines():
            kind, place, mode, owner, group, *_ = (*line.split(), *[""] * 5)
            same = (kind, place, owner, group) == ("d", DEFAULT_LOCK_DIR, "root", LOCK_GROUP)
            if same and mode.lstrip("0") == f"{LOCK_MODE:o}":
                return path
    return None
