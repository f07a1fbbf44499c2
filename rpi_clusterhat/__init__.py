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
    from .events import (
        BoardSetUp,
        Event,
        PowerLost,
        StateChanged,
        WaitingForRail,
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

# Each is loaded with its first use: the command, a plugin or a test pays for no more than it needs, and
# only users of asyncio for asyncio. The errors are those that are listed nowhere here.
_HOMES = {
    "aio": ("AsyncCluster", "AsyncFunction", "AsyncHub", "AsyncNode"),
    "cluster": ("BoardStatus", "Cluster", "Function", "Hub", "Node", "NodeStatus", "Status"),
    "events": ("BoardSetUp", "Event", "PowerLost", "StateChanged", "WaitingForRail"),
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
