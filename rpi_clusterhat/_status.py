"""What is read of a cluster at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .events import State
    from .power.inventory import Inventory

__all__ = ["BoardStatus", "NodeStatus", "Status", "read_status"]


class NodeStatus(Frozen):
    """A node as a `Status` has it."""

    powered: bool
    """As read from the line."""
    state: State
    failure: str | None


class BoardStatus(Frozen):
    """A board as a `Status` has it."""

    version: str
    backend: str
    nodes: tuple[str, ...]
    functions: Mapping[str, bool]
    """``alert``, ``led``, ``hub``, ``wp`` as far as the board has them: on or off."""
    set_up: bool
    """False for an expander that nobody has set up since it got power."""
    altered: tuple[str, ...] = ()
    """The nodes and functions that something else has changed since this library last switched the board."""


class Status(Frozen):
    """What was read at one moment. The same for one board and for several."""

    boards: tuple[BoardStatus, ...]
    nodes: Mapping[str, NodeStatus]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``status --json``: ``boards``, a list, and ``nodes``, by name."""
        boards: list[dict[str, Any]] = [
            {
                "board": board.version,
                "backend": board.backend,
                "nodes": list(board.nodes),
                "functions": dict(board.functions),
                "set_up": board.set_up,
                **({"altered": list(board.altered)} if board.altered else {}),
            }
            for board in self.boards
        ]
        nodes: dict[str, dict[str, Any]] = {}
        for name, node in self.nodes.items():
            nodes[name] = {"powered": node.powered, "state": str(node.state)}
            if node.failure is not None:
                nodes[name]["failure"] = node.failure
        return {"boards": boards, "nodes": nodes}


def read_status(inventory: Inventory) -> Status:
    """Reads all boards. Never writes."""
    boards: list[BoardStatus] = []
    nodes: dict[str, NodeStatus] = {}
    for index, bank in enumerate(inventory.banks):
        with bank.lock:
            levels = inventory.levels(index)
            for name in bank.names:
                entry = inventory.entries[name]
                nodes[name] = NodeStatus(entry.role.is_on(levels), entry.state, entry.failure)
            functions = {name: role.is_on(levels) for name, role in bank.board.functions.items()}
            set_up, altered = bank.was_set_up is not False, tuple(bank.altered)
        boards.append(
            BoardStatus(bank.board.version, bank.backend_name, tuple(bank.names), functions, set_up, altered)
        )
    return Status(tuple(boards), nodes)
