"""What udev rules say of a device, read as far as is needed to leave those alone that do the same as ours.

Source of the syntax: udev(7).
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["group_of", "groups_named", "opens_sysfs"]

_TERM = re.compile(r'([A-Z]+)(\{[^}]*\})?\s*(==|!=|\+=|-=|:=|=)\s*e?"((?:[^"\\]|\\.)*)"')
_ACTION = "add"


def group_of(rules: Mapping[str, str], subsystem: str, kernel: str) -> str | None:
    """Returns the group that the rules give to a device when it appears; None where they name none.

    A rule with a condition on anything but the device's subsystem and name does not count: it may be meant
    for another device.

    Args:
        rules: The texts of the files, by name.
        subsystem: Such as ``i2c-dev``.
        kernel: The device's name, such as ``i2c-1``.
    """
    device = {"SUBSYSTEM": subsystem, "KERNEL": kernel, "ACTION": _ACTION}
    group = None
    for terms in _lines(rules):
        conditions = [term for term in terms if term[2] in ("==", "!=")]
        if not all(_holds(device, *term) for term in conditions) or not any(
            key in ("SUBSYSTEM", "KERNEL") for key, *_ in conditions
        ):
            continue
        for key, _, operator, value in terms:
            if key == "GROUP" and operator in ("=", ":="):
                group = value
                if operator == ":=":  # final: udev ignores what later rules say
                    return group
    return group


def groups_named(rules: Mapping[str, str]) -> set[str]:
    """Returns all groups that the rules give anything to."""
    return {value for terms in _lines(rules) for key, _, op, value in terms if key == "GROUP" and op != "=="}


def opens_sysfs(rules: Mapping[str, str]) -> bool:
    """Whether a rule gives the files in ``/sys/class/gpio`` to a group."""
    for terms in _lines(rules):
        text = " ".join(value for key, _, _, value in terms if key in ("RUN", "PROGRAM"))
        if "/sys" in text and re.search(r"\bch(grp|own)\b.*\bgpio\b", text):
            return True
    return False


def _holds(device: Mapping[str, str], key: str, attribute: str, operator: str, pattern: str) -> bool:
    if attribute or key not in device:
        return False
    matches = any(fnmatchcase(device[key], one) for one in pattern.split("|"))
    return matches is (operator == "==")


def _lines(rules: Mapping[str, str]) -> Iterator[list[tuple[str, str, str, str]]]:
    """The terms of each rule, in the order in which udev reads them."""
    for name in sorted(rules):
        for line in rules[name].replace("\\\n", "").splitlines():
            if not line.lstrip().startswith("#"):
                yield _TERM.findall(line)
