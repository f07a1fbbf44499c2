"""Run a Raspberry Pi Cluster HAT from Python: power, safely, on any controller.

from rpi_clusterhat import Cluster

with Cluster.open() as hat:
    hat.on("p1", "p3")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import AsyncCluster, AsyncFunction, AsyncHub, AsyncNode
    from .cluster import BoardStatus, Cluster, Function, Hub, Node, NodeStatus, Status
    from .errors import (
        AccessDeniedError,
        AmbiguousBackendError,
        BackendError,
        BackendUnavailableError,
        BoardNotFoundError,
        BootError,
        BootTimeoutError,
        BusError,
        ClosedError,
        ClusterHatError,
        DeviceGoneError,
        DeviceNotFoundError,
        LeaseTimeoutError,
        LevelsNotHeldError,
        LineBusyError,
        LockError,
        LockTimeoutError,
        MissingDependencyError,
        NodeFailedError,
        NodeNameError,
        NoNodeError,
        NotReadyError,
        PoolClosedError,
        PoolError,
        PowerLostError,
        QueueFullError,
        SettingError,
        StuckLineError,
        SupersededError,
        TransientBusError,
        TransitionError,
        UnknownBackendError,
        UnsupportedError,
    )
    from .events import (
        BoardSetUp,
        BootFailed,
        BootFinished,
        BootStarted,
        Event,
        PoolEvent,
        PoweredOff,
        PowerLost,
        StateChanged,
        WaitingForRail,
    )
    from .pool.leases import AsyncNodePool, Lease
    from .pool.scheduler import PoolSettings
    from .pool.threads import NodePool
    from .power.states import State

__all__ = [
    "AccessDeniedError",
    "AmbiguousBackendError",
    "AsyncCluster",
    "AsyncFunction",
    "AsyncHub",
    "AsyncNode",
    "AsyncNodePool",
    "BackendError",
    "BackendUnavailableError",
    "BoardNotFoundError",
    "BoardSetUp",
    "BoardStatus",
    "BootError",
    "BootFailed",
    "BootFinished",
    "BootStarted",
    "BootTimeoutError",
    "BusError",
    "ClosedError",
    "Cluster",
    "ClusterHatError",
    "DeviceGoneError",
    "DeviceNotFoundError",
    "Event",
    "Function",
    "Hub",
    "Lease",
    "LeaseTimeoutError",
    "LevelsNotHeldError",
    "LineBusyError",
    "LockError",
    "LockTimeoutError",
    "MissingDependencyError",
    "NoNodeError",
    "Node",
    "NodeFailedError",
    "NodeNameError",
    "NodePool",
    "NodeStatus",
    "NotReadyError",
    "PoolClosedError",
    "PoolError",
    "PoolEvent",
    "PoolSettings",
    "PowerLost",
    "PowerLostError",
    "PoweredOff",
    "QueueFullError",
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

# Each is loaded with its first use: the command, a plugin or a test pays for no more than it needs, and
# only users of asyncio for asyncio. The errors are those that are listed nowhere here.
_HOMES = {
    "aio": ("AsyncCluster", "AsyncFunction", "AsyncHub", "AsyncNode"),
    "cluster": ("BoardStatus", "Cluster", "Function", "Hub", "Node", "NodeStatus", "Status"),
    "pool.scheduler": ("PoolSettings",),
    "events": (
        "BoardSetUp",
        "BootStarted",
        "BootFinished",
        "BootFailed",
        "Event",
        "PoolEvent",
        "PowerLost",
        "PoweredOff",
        "StateChanged",
        "WaitingForRail",
    ),
    "pool.leases": ("AsyncNodePool", "Lease"),
    "pool.threads": ("NodePool",),
    "power.states": ("State",),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((module for module, names in _HOMES.items() if name in names), "errors")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
