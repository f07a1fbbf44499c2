"""What users and plugin authors test with. It needs no hardware and no test framework."""

from rpi_clusterhat.hardware.simulation import (
    SimulatedBoard,
    SimulatedEvent,
    SimulatedNode,
    SimulatedRail,
)

from .clock import FakeClock
from .conformance import BackendConformance
from .expander import FakeExpander
from .simulation import Simulation, simulated
from .smbus import FakeSMBus

__all__ = [
    "BackendConformance",
    "FakeClock",
    "FakeExpander",
    "FakeSMBus",
    "SimulatedBoard",
    "SimulatedEvent",
    "SimulatedNode",
    "SimulatedRail",
    "Simulation",
    "simulated",
]
