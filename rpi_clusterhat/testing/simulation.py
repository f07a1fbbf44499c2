"""The simulated nodes and boards of a cluster: to be looked at, and to be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import NodeNameError
from rpi_clusterhat.hardware.backend import SupportsSimulation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rpi_clusterhat._cluster_base import ClusterBase
    from rpi_clusterhat.hardware.simulation import SimulatedBoard, SimulatedNode

__all__ = ["Simulation", "simulated"]


class Simulation:
    """What is behind a cluster that was opened on the simulation. May be used from any thread.

    simulated(hat)["p2"].hang()
    simulated(hat).boards[0].fail_bus()
    assert all(node.is_up for node in simulated(hat))
    """

    def __init__(self, nodes: dict[str, SimulatedNode], boards: list[SimulatedBoard]) -> None:
        self._nodes = nodes
        self.boards = boards
        """In the order of the cluster's boards."""

    def __repr__(self) -> str:
        phases = " ".join(f"{name}={node.phase}" for name, node in list(self._nodes.items())[:16])
        return f"<Simulation {phases}{' …' if len(self._nodes) > 16 else ''}>"

    def __getitem__(self, name: str) -> SimulatedNode:
        """The node of this name.

        Raises:
            NodeNameError: The cluster has no such node.
        """
        try:
            return self._nodes[name]
        except KeyError:
            raise NodeNameError(
                f"{name!r} is no node of this cluster: it has {', '.join(self._nodes)}"
            ) from None

    def __iter__(self) -> Iterator[SimulatedNode]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)


def simulated(cluster: ClusterBase) -> Simulation:
    """What is behind a cluster that was opened with ``backend="sim"``, or on another plugin that simulates.

    Args:
        cluster: A `Cluster` or an `AsyncCluster`, open.

    Raises:
        TypeError: One of its boards is not simulated.
    """
    nodes: dict[str, SimulatedNode] = {}
    boards: list[SimulatedBoard] = []
    for bank in cluster.banks:
        if not isinstance(bank.backend, SupportsSimulation):
            raise TypeError(f"{bank!r} is not simulated: open the cluster with backend='sim'")
        board = bank.backend.simulation
        boards.append(board)
        for name, role in zip(bank.names, bank.board.power, strict=False):
            nodes[name] = board.nodes[role.offset]
    return Simulation(nodes, boards)
