"""Where the kernel and the disk image of a rack's nodes lie, and what this machine needs to run them."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from rpi_clusterhat.errors import BackendUnavailableError

__all__ = ["Built", "default_place", "find"]

_TOOLS = {"ip": "iproute2", "unshare": "util-linux"}


class Built(NamedTuple):
    """A folder with all that nodes are made of. Nothing in it is ever written to."""

    place: str

    @property
    def kernel(self) -> str:
        return os.path.join(self.place, "linux")

    @property
    def image(self) -> str:
        """The disk of a node that never ran."""
        return os.path.join(self.place, "node.img")

    @property
    def key(self) -> str:
        """The private ssh key with which root and pi can log in."""
        return os.path.join(self.place, "key")


def default_place() -> str:
    """Where ``make rack`` leaves a link to what it built last."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(cache, "rpi-clusterhat", "rack")


def find(place: str | None = None) -> Built:
    """Returns what was built.

    Args:
        place: The folder; None for `default_place`.

    Raises:
        BackendUnavailableError: Nothing was built there, or this machine or this user cannot run it.
    """
    where = default_place() if place is None else os.path.abspath(place)
    if not os.path.exists(os.path.join(where, "complete")):
        raise BackendUnavailableError(
            f"no rack of nodes was built in {where}: run 'make rack' in a checkout of rpi-clusterhat"
        )
    if missing := [package for tool, package in _TOOLS.items() if shutil.which(tool, path=path()) is None]:
        raise BackendUnavailableError(
            f"a rack of nodes needs {' and '.join(missing)}: apt install {' '.join(missing)}"
        )
    if os.geteuid() != 0:
        raise BackendUnavailableError(
            "a rack of nodes makes a network of its own, and only root may: use sudo"
        )
    return Built(os.path.realpath(where))


def path() -> str:
    """Where programs are searched: those of root are not on everybody's path."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
