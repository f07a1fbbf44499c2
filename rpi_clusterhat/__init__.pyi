from ._status import (
    BoardStatus as BoardStatus,
)
from ._status import (
    NodeStatus as NodeStatus,
)
from ._status import (
    Status as Status,
)
from .aio import (
    AsyncCluster as AsyncCluster,
)
from .aio import (
    AsyncFunction as AsyncFunction,
)
from .aio import (
    AsyncHub as AsyncHub,
)
from .aio import (
    AsyncNode as AsyncNode,
)
from .cluster import (
    Cluster as Cluster,
)
from .cluster import (
    Function as Function,
)
from .cluster import (
    Hub as Hub,
)
from .cluster import (
    Node as Node,
)
from .errors import (
    AccessDeniedError as AccessDeniedError,
)
from .errors import (
    AmbiguousBackendError as AmbiguousBackendError,
)
from .errors import (
    BackendError as BackendError,
)
from .errors import (
    BackendUnavailableError as BackendUnavailableError,
)
from .errors import (
    BoardNotFoundError as BoardNotFoundError,
)
from .errors import (
    BootError as BootError,
)
from .errors import (
    BootTimeoutError as BootTimeoutError,
)
from .errors import (
    BusError as BusError,
)
from .errors import (
    ClosedError as ClosedError,
)
from .errors import (
    ClusterHatError as ClusterHatError,
)
from .errors import (
    DeviceGoneError as DeviceGoneError,
)
from .errors import (
    DeviceNotFoundError as DeviceNotFoundError,
)
from .errors import (
    LeaseInUseError as LeaseInUseError,
)
from .errors import (
    LeaseTimeoutError as LeaseTimeoutError,
)
from .errors import (
    LevelsNotHeldError as LevelsNotHeldError,
)
from .errors import (
    LineBusyError as LineBusyError,
)
from .errors import (
    LockError as LockError,
)
from .errors import (
    LockTimeoutError as LockTimeoutError,
)
from .errors import (
    MissingDependencyError as MissingDependencyError,
)
from .errors import (
    NodeFailedError as NodeFailedError,
)
from .errors import (
    NodeNameError as NodeNameError,
)
from .errors import (
    NoNodeError as NoNodeError,
)
from .errors import (
    NotReadyError as NotReadyError,
)
from .errors import (
    PoolClosedError as PoolClosedError,
)
from .errors import (
    PoolError as PoolError,
)
from .errors import (
    PowerLostError as PowerLostError,
)
from .errors import (
    QueueFullError as QueueFullError,
)
from .errors import (
    SettingError as SettingError,
)
from .errors import (
    StuckLineError as StuckLineError,
)
from .errors import (
    SupersededError as SupersededError,
)
from .errors import (
    TransientBusError as TransientBusError,
)
from .errors import (
    TransitionError as TransitionError,
)
from .errors import (
    UnknownBackendError as UnknownBackendError,
)
from .errors import (
    UnsupportedError as UnsupportedError,
)
from .events import (
    BoardSetUp as BoardSetUp,
)
from .events import (
    BootFailed as BootFailed,
)
from .events import (
    BootFinished as BootFinished,
)
from .events import (
    BootStarted as BootStarted,
)
from .events import (
    Event as Event,
)
from .events import (
    LineDriven as LineDriven,
)
from .events import (
    LinesAltered as LinesAltered,
)
from .events import (
    LockMissed as LockMissed,
)
from .events import (
    PoolEvent as PoolEvent,
)
from .events import (
    PoweredOff as PoweredOff,
)
from .events import (
    PowerLost as PowerLost,
)
from .events import (
    PowerOffFailed as PowerOffFailed,
)
from .events import (
    Quarantined as Quarantined,
)
from .events import (
    State as State,
)
from .events import (
    StateChanged as StateChanged,
)
from .events import (
    WaitingForRail as WaitingForRail,
)
from .nodes.boots import (
    BootHistory as BootHistory,
)
from .nodes.boots import (
    BootRecord as BootRecord,
)
from .nodes.probes import (
    CommandProbe as CommandProbe,
)
from .nodes.probes import (
    HttpProbe as HttpProbe,
)
from .nodes.probes import (
    Probe as Probe,
)
from .nodes.probes import (
    TcpProbe as TcpProbe,
)
from .nodes.probes import (
    UsbProbe as UsbProbe,
)
from .nodes.probes import (
    Verdict as Verdict,
)
from .nodes.probes import (
    await_until_up as await_until_up,
)
from .nodes.probes import (
    wait_until_up as wait_until_up,
)
from .pool.activity import (
    Counters as Counters,
)
from .pool.activity import (
    Traffic as Traffic,
)
from .pool.aio import (
    AsyncNodePool as AsyncNodePool,
)
from .pool.leases import (
    Lease as Lease,
)
from .pool.pooled_node import (
    PooledNode as PooledNode,
)
from .pool.settings import (
    PoolSettings as PoolSettings,
)
from .pool.states import (
    PoolState as PoolState,
)
from .pool.threads import (
    NodePool as NodePool,
)
from .pool.threads import (
    ThreadLease as ThreadLease,
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
    "BootError",
    "BootFailed",
    "BootFinished",
    "BootHistory",
    "BootRecord",
    "BootStarted",
    "BootTimeoutError",
    "BusError",
    "ClosedError",
    "Cluster",
    "ClusterHatError",
    "CommandHook",
    "CommandProbe",
    "Counters",
    "DeviceGoneError",
    "DeviceNotFoundError",
    "Event",
    "Function",
    "HttpHook",
    "HttpProbe",
    "Hub",
    "Lease",
    "LeaseInUseError",
    "LeaseTimeoutError",
    "LevelsNotHeldError",
    "LineBusyError",
    "LineDriven",
    "LinesAltered",
    "LockError",
    "LockMissed",
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
    "PoolState",
    "PooledNode",
    "PowerLost",
    "PowerLostError",
    "PowerOffFailed",
    "PoweredOff",
    "Probe",
    "Quarantined",
    "QueueFullError",
    "Secret",
    "SettingError",
    "Ssh",
    "State",
    "StateChanged",
    "Status",
    "StuckLineError",
    "SupersededError",
    "TcpProbe",
    "ThreadLease",
    "Traffic",
    "TransientBusError",
    "TransitionError",
    "UnknownBackendError",
    "UnsupportedError",
    "UsbProbe",
    "Verdict",
    "WaitingForRail",
    "await_until_up",
    "wait_until_up",
]
__version__: str
from .errors import (
    CommandTimeoutError as CommandTimeoutError,
)
from .errors import (
    ConsoleBusyError as ConsoleBusyError,
)
from .errors import (
    ConsoleError as ConsoleError,
)
from .errors import (
    ConsoleMissingError as ConsoleMissingError,
)
from .errors import (
    HaltError as HaltError,
)
from .errors import (
    HaltRefusedError as HaltRefusedError,
)
from .errors import (
    HostKeyError as HostKeyError,
)
from .errors import (
    LoginError as LoginError,
)
from .errors import (
    NodeAccessError as NodeAccessError,
)
from .events import (
    CutWithoutHalt as CutWithoutHalt,
)
from .events import (
    NodeHalted as NodeHalted,
)
from .nodes.console.console import (
    AsyncConsole as AsyncConsole,
)
from .nodes.console.console import (
    Console as Console,
)
from .nodes.console.states import (
    ConsoleState as ConsoleState,
)
from .nodes.console.times import (
    ConsoleTimes as ConsoleTimes,
)
from .nodes.finished import (
    Finished as Finished,
)
from .nodes.hooks import (
    CommandHook as CommandHook,
)
from .nodes.hooks import (
    HttpHook as HttpHook,
)
from .nodes.ssh import (
    Ssh as Ssh,
)
from .settings.secret import (
    Secret as Secret,
)
