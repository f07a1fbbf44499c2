"""What says that a node is ready, where the command is told to wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.hardware.backend import SupportsSimulation
from rpi_clusterhat.nodes.probes import Probe, TcpProbe, UsbProbe, Verdict
from rpi_clusterhat.waiting import Sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.cluster import Cluster
    from rpi_clusterhat.hardware.simulation import SimulatedNode
    from rpi_clusterhat.waiting import Steps

__all__ = ["probe_of"]


class _SimulatedProbe(Probe):
    """A simulated node is up when its boot is over."""

    __slots__ = ("_node",)

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:  # noqa: ARG002 - it answers at once
        yield Sleep(0.0)
        return Verdict(self._node.is_up, f"the simulated node is {self._node.phase}")


def probe_of(hat: Cluster, name: str) -> Probe:
    """Its TCP port, where the backend knows that; the simulation; else its place on the controller's USB."""
    if name in hat.addresses:
        return TcpProbe(*hat.addresses[name])
    for bank in hat.banks:
        if name in bank.names and isinstance(bank.backend, SupportsSimulation):
            role = bank.board.power[bank.names.index(name)]
            return _SimulatedProbe(bank.backend.simulation.nodes[role.offset])
    return UsbProbe(name.removeprefix("p"))
