"""Run a Raspberry Pi Cluster HAT from Python: power, safely, on any controller.

from rpi_clusterhat import Cluster

with Cluster.open() as hat:
    hat.on("p1", "p3")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cluster import BoardStatus, Cluster, Function, Hub, Node, NodeStatus, Status
from .errors import (
    AccessDeniedError,
    AmbiguousBackendError,
    BackendError,
    BackendUnavailableError,
    BoardNotFoundError,
    BusError,
    ClosedError,
    ClusterHatError,
    DeviceGoneError,
    DeviceNotFoundError,
    LevelsNotHeldError,
    LineBusyError,
    LockError,
    LockTimeoutError,
    MissingDependencyError,
    NodeFailedError,
    NodeNameError,
    PowerLostError,
    SettingError,
    StuckLineError,
    SupersededError,
    TransientBusError,
    TransitionError,
    UnknownBackendError,
    UnsupportedError,
)
from .events import BoardSetUp, Event, PowerLost, StateChanged, WaitingForRail
from .power import State

if TYPE_CHECKING:
    from .aio import AsyncCluster, AsyncFunction, AsyncHub, AsyncNode

__all__ = [
    "AccessDeniedError",
    "AmbiguousBackendError",
    "AsyncCluster",
    "AsyncFunction",
    "AsyncHub",
    "AsyncNode",
    "BackendError",
    "BackendUnavailableError",
    "BoardNotFoundError",
    "BoardSetUp",
    "BoardStatus",
    "BusError",
    "ClosedError",
    "Cluster",
    "ClusterHatError",
    "DeviceGoneError",
    "DeviceNotFoundError",
    "Event",
    "Function",
    "Hub",
    "LevelsNotHeldError",
    "LineBusyError",
    "LockError",
    "LockTimeoutError",
    "MissingDependencyError",
    "Node",
    "NodeFailedError",
    "NodeNameError",
    "NodeStatus",
    "PowerLost",
    "PowerLostError",
    "SettingError",
    "State",
    "StateChanged",
    "Status",
    "StuckLineError",
    "SupersededError",
    "TransientBusError",
    "TransitionError",
    "UnknownBackendError",
    "UnsupportedError",
    "WaitingForRail",
]

__version__ = "0.1.0"

_ASYNC = ("AsyncCluster", "AsyncFunction", "AsyncHub", "AsyncNode")


def __getattr__(name: str) -> Any:
    if name in _ASYNC:  # asyncio is the dearest import of all: only for those who use it
        from . import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ASYNC])
