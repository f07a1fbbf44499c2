"""Run a Raspberry Pi Cluster HAT from Python: power, safely, on any controller.

from rpi_clusterhat import Cluster

with Cluster.open() as hat:
    hat.on("p1", "p3")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aio import (
        AsyncCluster,
        AsyncFunction,
        AsyncHub,
        AsyncNode,
    )
    from .cluster import (
        BoardStatus,
        Cluster,
        Function,
        Hub,
        Node,
        NodeStatus,
        Status,
    )
    from .dispatch import (
        PoolSettings,
    )
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
        BootBegun,
        BootEnded,
        BootFailed,
        Event,
        PoolEvent,
        PowerLost,
        Rested,
        StateChanged,
        WaitingForRail,
    )
    from .pool import (
        AsyncNodePool,
        Lease,
        NodePool,
    )
    from .power import (
        State,
    )

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
    "BootBegun",
    "BootEnded",
    "BootError",
    "BootFailed",
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
    "QueueFullError",
    "Rested",
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
    "dispatch": ("PoolSettings",),
    "events": (
        "BoardSetUp",
        "BootBegun",
        "BootEnded",
        "BootFailed",
        "Event",
        "PoolEvent",
        "PowerLost",
        "Rested",
        "StateChanged",
        "WaitingForRail",
    ),
    "pool": ("AsyncNodePool", "Lease", "NodePool"),
    "power": ("State",),
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
