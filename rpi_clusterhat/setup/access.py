"""Who may open GPIO chips and I2C buses: a group that the system gives them, or ours by rules of our own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .rules import group_of, opens_sysfs
from .steps import Run, Step, Write
from .text import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .facts import Device, Facts
    from .steps import Action

__all__ = ["access_groups", "access_steps", "reload_rules"]

_FOLDER = "/etc/udev/rules.d"


class _Kind(NamedTuple):
    """Devices that one rule is for."""

    name: str
    rules: str
    """The file of rules that ships."""
    subsystem: str
    devices: Sequence[Device]
    given: str | None
    """The group that rules give to such devices; None where none do."""
    group: str
    """The group that may use the devices, or will."""

    @property
    def closed(self) -> list[Device]:
        """Those that no group may use."""
        return [device for device in self.devices if not device.open_to_group]


def access_groups(facts: Facts) -> set[str]:
    """Returns the groups that a user must be in to use the devices."""
    return {kind.group for kind in _kinds(facts)}


def access_steps(facts: Facts, notes: list[str]) -> Iterable[Step]:
    """Yields a step for each kind of device that no group may use."""
    for kind in _kinds(facts):
        yield from _steps(facts, kind, notes)
    if facts.sysfs is not None and not facts.sysfs.open_to_group and "udevadm" in facts.tools:
        given = "gpio" if opens_sysfs(facts.rules) else None
        sysfs = _Kind("GPIO files", "gpio-sysfs.rules", "gpio", (facts.sysfs,), given, "gpio")
        yield from _steps(facts, sysfs, notes)


def reload_rules(facts: Facts, subsystem: str) -> tuple[Action, ...]:
    """Returns what has udev read its rules and use them for the devices that are there already."""
    if not facts.udevd:
        return ()
    tool = facts.tools["udevadm"]
    return (
        Run((tool, "control", "--reload")),
        Run((tool, "trigger", "--action=change", f"--subsystem-match={subsystem}")),
        Run((tool, "settle", "--timeout=30")),
    )


def _kinds(facts: Facts) -> Iterable[_Kind]:
    yield _kind(facts, "GPIO chips", "gpio", "gpio", "gpiochip0", facts.gpio)
    if facts.buses:
        devices = [bus.device for bus in facts.buses if bus.device]
        yield _kind(facts, "I2C buses", "i2c", "i2c-dev", f"i2c-{facts.buses[0].number}", devices)


def _kind(
    facts: Facts, name: str, ours: str, subsystem: str, kernel: str, devices: Sequence[Device]
) -> _Kind:
    given = group_of(facts.rules, subsystem, kernel)
    if given is not None and given != ours and facts.groups.get(given, 0) == 0:
        given = None  # udev ignores a group that is not there, and root's group is nobody's
    group = next((device.group for device in devices if device.open_to_group), given or ours)
    return _Kind(name, f"{ours}.rules", subsystem, devices, given, group)


def _steps(facts: Facts, kind: _Kind, notes: list[str]) -> Iterable[Step]:
    why = f"so that the group {kind.group} can use {'them' if kind.name.endswith('s') else 'it'}"
    if kind.devices and not kind.closed:
        return
    if "udevadm" not in facts.tools:
        if kind.closed:
            listed = ", ".join(device.path for device in kind.closed)
            notes.append(
                f"There is no udev here: give {listed} to the group {kind.group}, mode 0660, at each start."
            )
        return
    if kind.given is None:
        path = f"{_FOLDER}/60-rpi-clusterhat-{kind.rules}"
        yield Step(
            kind.name,
            f"write udev rules for the {kind.name}",
            why,
            (Write(path, shipped(kind.rules)), *reload_rules(facts, kind.subsystem)),
        )
    elif kind.closed and facts.udevd:
        what = f"apply the udev rules for the {kind.name}"
        yield Step(kind.name, what, why, reload_rules(facts, kind.subsystem))
    if kind.closed and not facts.udevd:
        notes.append(f"udev is not running: its rules for the {kind.name} count from the next start on.")
