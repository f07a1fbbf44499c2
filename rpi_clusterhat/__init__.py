"""Run a Raspberry Pi Cluster HAT from Python: power, safely, on any controller.

from rpi_clusterhat import Cluster

with Cluster.open() as hat:
    hat.on("p1", "p3")
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

# The public names, and where each is defined. Type checkers read the same from __init__.pyi, which a test
# holds to this. Each is loaded with its first use, so that nobody pays for more than is needed.
_PUBLIC = {
    "aio": (
        "AsyncCluster",
        "AsyncFunction",
        "AsyncHub",
        "AsyncNode",
    ),
    "cluster": (
        "Cluster",
        "Function",
        "Hub",
        "Node",
    ),
    "_status": (
        "BoardStatus",
        "NodeStatus",
        "Status",
    ),
    "errors": (
        "AccessDeniedError",
        "AmbiguousBackendError",
        "BackendError",
        "BackendUnavailableError",
        "BoardNotFoundError",
        "BootError",
        "BootTimeoutError",
        "BusError",
        "ClosedError",
        "ClusterHatError",
        "CommandTimeoutError",
        "ConsoleBusyError",
        "ConsoleError",
        "ConsoleMissingError",
        "DeviceGoneError",
        "DeviceNotFoundError",
        "HaltError",
        "HaltRefusedError",
        "HostKeyError",
        "LeaseInUseError",
        "LeaseTimeoutError",
        "LevelsNotHeldError",
        "LineBusyError",
        "LockError",
        "LockTimeoutError",
        "LoginError",
        "MissingDependencyError",
        "NoNodeError",
        "NodeAccessError",
        "NodeFailedError",
        "NodeNameError",
        "NotReadyError",
        "PoolClosedError",
        "PoolError",
        "PowerLostError",
        "QueueFullError",
        "SettingError",
        "StuckLineError",
        "SupersededError",
        "TransientBusError",
        "TransitionError",
        "UnknownBackendError",
        "UnsupportedError",
    ),
    "events": (
        "BoardSetUp",
        "BootFailed",
        "BootFinished",
        "BootStarted",
        "CutWithoutHalt",
        "Event",
        "LineDriven",
        "LinesAltered",
        "LockMissed",
        "NodeHalted",
        "PoolEvent",
        "PowerLost",
        "PowerOffFailed",
        "PoweredOff",
        "Quarantined",
        "State",
        "StateChanged",
        "WaitingForRail",
    ),
    "nodes.boots": (
        "BootHistory",
        "BootRecord",
    ),
    "nodes.console.console": (
        "AsyncConsole",
        "Console",
    ),
    "nodes.console.states": ("ConsoleState",),
    "nodes.console.times": ("ConsoleTimes",),
    "nodes.finished": ("Finished",),
    "nodes.hooks": (
        "CommandHook",
        "HttpHook",
    ),
    "nodes.probes": (
        "CommandProbe",
        "HttpProbe",
        "Probe",
        "TcpProbe",
        "UsbProbe",
        "Verdict",
        "await_until_up",
        "wait_until_up",
    ),
    "nodes.ssh": ("Ssh",),
    "pool.activity": (
        "Counters",
        "Traffic",
    ),
    "pool.aio": ("AsyncNodePool",),
    "pool.leases": ("Lease",),
    "pool.pooled_node": ("PooledNode",),
    "pool.settings": ("PoolSettings",),
    "pool.states": ("PoolState",),
    "pool.threads": (
        "NodePool",
        "ThreadLease",
    ),
    "settings.secret": ("Secret",),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOME)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll] - the stub lists them


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
