"""The nodes of a state file as computers, which one process runs for all that share the file.

    python -m rpi_clusterhat_sim.rack STATE

That process holds a lock, and notes in a folder beside the state file where its nodes are reached. The disks
of the nodes are in this folder too, and stay.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import BackendUnavailableError
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat_sim.holders import is_alive, new_holder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .rack import Rack

__all__ = ["SharedRack", "folder_of", "hold", "publish"]


def folder_of(state: str) -> str:
    """The folder of the rack of a state file, whose path is absolute."""
    return f"{state}.rack"


def _note(state: str) -> str:
    return os.path.join(folder_of(state), "nodes.json")


def hold(state: str) -> FileLock:
    """The lock of who runs the nodes of a state file. It waits for nobody."""
    folder, name = os.path.split(state)
    return FileLock(lock_path(folder, f"sim-{name}.rack"), timeout=0, guarded=False)


def publish(state: str, rack: Rack) -> None:
    """Tells all who share the state file where the nodes are reached, until this process ends."""
    nodes = {
        name: {
            "address": rack.address(name),
            "ssh_address": rack.ssh_address(name),
            "console": rack.console(name),
        }
        for name in rack.names
    }
    draft = f"{_note(state)}.new"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump({"holder": new_holder(), "nodes": nodes}, file)
    os.replace(draft, _note(state))


class SharedRack:
    """What others need to know of the nodes that another process runs. May be used from any thread."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._nodes: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<SharedRack of {self._state}>"

    def add(self, names: Iterable[str]) -> None:
        """Raises `BackendUnavailableError` where no process runs these nodes."""
        command = f"{sys.executable} -m {__package__} {shlex.quote(self._state)}"
        try:
            with open(_note(self._state), encoding="utf-8") as file:
                known = json.load(file)
            alive = is_alive(known["holder"])
        except (OSError, ValueError, LookupError):
            alive, known = False, {}
        if not alive:
            raise BackendUnavailableError(
                f"no process runs the nodes of {self._state} as computers: start one with {command}"
            )
        if missing := [name for name in names if name not in known["nodes"]]:
            raise BackendUnavailableError(
                f"the process that runs the nodes of {self._state} has no {', '.join(missing)}: "
                f"start it with more of them (--nodes)"
            )
        self._nodes = known["nodes"]

    def discard(self, names: Iterable[str]) -> None:
        """They go on."""

    def address(self, name: str) -> tuple[str, int]:
        host, port = self._nodes[name]["address"]
        return host, port

    def ssh_address(self, name: str) -> tuple[str, int]:
        host, port = self._nodes[name]["ssh_address"]
        return host, port

    def console(self, name: str) -> str:
        console: str = self._nodes[name]["console"]
        return console

    def is_running(self, name: str) -> bool:
        return os.path.lexists(self.console(name))  # which is there until nothing of the node is left
