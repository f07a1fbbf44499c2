"""What backends have in common that drive lines of a chip.

Which chip has the header's lines, and what users are told when something about a chip or a line is wrong.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    DeviceNotFoundError,
    SettingError,
    StuckLineError,
)

from .permission import permission_remedy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .backend import OpenRequest

__all__ = [
    "HEADER_LABELS",
    "access_denied",
    "ambiguous_chip",
    "claim_lines",
    "no_chip",
    "require_chip_for_expander",
    "stuck_lines",
]

HEADER_LABELS = ("pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1")
"""Labels of the chips that have the 40-pin header, by model."""

LOST_POWER = (
    "look for a short, or for an expander that lost power, which its driver notices only when bound anew"
)


def require_chip_for_expander(request: OpenRequest, *named: str) -> None:
    """Refuses the header's chip for lines that are on an expander.

    Args:
        request: What the backend is opened with.
        named: The options of which one names a chip.

    Raises:
        SettingError: The board's lines are on an expander, and none of the options is given.
    """
    if request.expander and all(request.options[name] is None for name in named):
        raise SettingError(
            "this HAT's lines are on an I2C expander, not on the header: name the chip that the kernel "
            "driver makes of it, such as chip=1-0020"
        )


def claim_lines(request: OpenRequest, chip: str, count: int) -> None:
    """Claims the board's lines on a chip.

    Args:
        request: What the backend is opened with.
        chip: How the chip is called.
        count: How many lines it has.

    Raises:
        DeviceNotFoundError: The chip does not have one of the lines.
        SettingError: Another board of this cluster uses one of them.
    """
    for line in request.lines:
        if line.offset >= count:
            raise DeviceNotFoundError(
                f"{chip} has no line {line.offset} for {line.name}: its last one is {count - 1}; "
                "name another chip with chip="
            )
    for line in request.lines:
        request.claim(f"line {line.offset} of {chip}")


def no_chip(
    wanted: str | None, there: Iterable[object], *, where: str = "this machine"
) -> DeviceNotFoundError:
    """No chip is the one that is wanted.

    Args:
        wanted: What the chip should be; None for that of the header.
        there: The chips that there are.
        where: Where they were looked for.
    """
    what = "chip of a Raspberry Pi's header" if wanted is None else wanted
    found = ", ".join(map(str, there)) or "none"
    return DeviceNotFoundError(f"{where} has no {what}: it has {found}; name one with chip=")


def ambiguous_chip(chips: Iterable[object], remedy: str) -> BackendUnavailableError:
    """Several chips are the one that is wanted.

    Args:
        chips: Those.
        remedy: The option that tells them apart, with the value for the first: ``base=512``.
    """
    return BackendUnavailableError(f"{' and '.join(map(str, chips))} are alike: say which one with {remedy}")


def access_denied(verb: str, path: str, group: str = "gpio") -> AccessDeniedError:
    """This user may not do this with a device.

    Args:
        verb: ``open`` or ``write``.
        path: The device or file.
        group: The group that ought to have it.
    """
    needed = os.W_OK if verb == "write" else os.R_OK | os.W_OK
    return AccessDeniedError(f"no permission to {verb} {path}: {permission_remedy(path, group, needed)}")


def stuck_lines(
    chip: object, names: Mapping[int, str], found: Mapping[int, bool], advice: str = LOST_POWER
) -> StuckLineError:
    """Lines that do not follow.

    Args:
        chip: What they are on.
        names: What each line switches, by offset.
        found: The level that was read instead of the opposite, which was written, by offset.
        advice: What to do.
    """
    return StuckLineError(
        f"{chip}: lines that read back as the opposite of what was written",
        (f"{offset} ({names[offset]}) {'high' if level else 'low'}" for offset, level in found.items()),
        advice,
    )
