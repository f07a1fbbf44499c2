"""Every error this library raises. One root; each leaf says when it is met and what to do.

Where a builtin fits what a caller would write in an ``except``, the error is that builtin too.
"""


class ClusterHatError(Exception):
    """The root of all errors of this library."""


class ClosedError(ClusterHatError):
    """The cluster or backend was closed before this call. Open a new one."""


# What the user said ---------------------------------------------------------------------------------


class SettingError(ClusterHatError, ValueError):
    """A setting, an option or a settings file is wrong. The text names the place (file and key),
    the value and what is allowed."""


class NodeNameError(ClusterHatError, LookupError):
    """A node's name or a list of names cannot be read, or names a node that this cluster does not
    have. The text lists the names there are."""

    __str__ = Exception.__str__


class UnsupportedError(ClusterHatError):
    """The board has no such function: a v1 board has no LED control, say. Ask ``cluster.boards``."""


# The board and its backend ---------------------------------------------------------------------------


class BoardNotFoundError(ClusterHatError, LookupError):
    """No Cluster HAT describes itself to this controller. Say which one is fitted: ``board="2.3"``."""

    __str__ = Exception.__str__


class BackendError(ClusterHatError):
    """The root of what goes wrong between the library and the hardware."""


class UnknownBackendError(BackendError, LookupError):
    """No installed distribution offers a backend of this name. The text lists those that are."""

    __str__ = Exception.__str__


class AmbiguousBackendError(BackendError):
    """Two distributions offer a backend of this name. Uninstall one of the two that the text names."""


class BackendUnavailableError(BackendError):
    """The backend is installed and cannot be used here; the text says why and what to do.

    Met while opening, never later. Nothing was switched.
    """


class MissingDependencyError(BackendUnavailableError, ImportError):
    """The backend needs a package that is not installed. The text has the ``pip install`` line."""


class AccessDeniedError(BackendUnavailableError, PermissionError):
    """This user may not open a device or a lock. The text names the file and the group to join."""


class DeviceNotFoundError(BackendUnavailableError, FileNotFoundError):
    """There is no such bus, chip, line or device. The text says which and how it comes to be."""


class LineBusyError(BackendUnavailableError):
    """Another program or a kernel driver holds a line or an address. The text names the holder.

    May be met at any time. End the holder, or use the backend that goes through it.
    """


class BusError(BackendError, OSError):
    """The root of failed transfers. ``errno`` is the kernel's where it gave one."""

    def __str__(self) -> str:
        return self.strerror or Exception.__str__(self)


class TransientBusError(BusError):
    """Transfers failed in a way that can pass (no acknowledge, lost arbitration, time-out), and went
    on failing through all tries. Retryable: nothing is known to have been written; read, then ask again."""


class DeviceGoneError(BusError):
    """The bus or chip went away under an open backend. Not retryable: close the cluster, open a new one."""


class StuckLineError(BackendError):
    """A line was written and reads back as the opposite. Look at the board: a short, or a line that
    something else drives."""


class PowerLostError(BackendError):
    """The expander lost power since it was set up, and with it all its outputs. The operation was ended;
    the next ``on``, ``off`` or ``init`` sets the expander up anew."""


class LevelsNotHeldError(BackendError):
    """The lines would drop back when this program ends, so nothing was switched. Use ``on --hold``, or a
    backend that keeps its levels."""


# Power ----------------------------------------------------------------------------------------------


class TransitionError(ClusterHatError):
    """An event that is not allowed in a node's state; the state is as it was."""


class NodeFailedError(ClusterHatError):
    """A node could not be brought to the state asked for; the text has the reason. Kept as the node's
    ``failure`` until it is switched again."""


class SupersededError(ClusterHatError):
    """While a node waited for its turn to be switched on, someone switched it off. The others are on."""


# Leases ---------------------------------------------------------------------------------------------


class PoolError(ClusterHatError):
    """The root of what keeps a pool from giving a node. ``retry_after`` says in how many seconds to ask
    again, as far as the pool can tell; None where it cannot, or where asking again is no use."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class QueueFullError(PoolError):
    """As many as ``queue`` allows wait for a node already. Refused at once; retryable."""


class LeaseTimeoutError(PoolError, TimeoutError):
    """No node was to be had within ``queue_timeout``. What was begun goes on: retryable."""


class BootError(PoolError):
    """The node that was to serve could not be switched on, and no other one could be tried. It is left alone
    for ``retry_after`` seconds; the text has the reason."""


class BootTimeoutError(BootError, TimeoutError):
    """The node that was to serve did not answer within ``boot_timeout``. Otherwise as `BootError`."""


class NoNodeError(PoolError):
    """No node may be used now: all that may be asked failed a short time ago. Retryable."""


class NotReadyError(PoolError):
    """Only a node that is ready was asked for (``passive``), and none is."""


class PoolClosedError(PoolError, ClosedError):
    """The pool is closed, or gives no new leases because it is being drained."""


# Locks ----------------------------------------------------------------------------------------------


class LockError(ClusterHatError, OSError):
    """A shared lock cannot be opened. The text names the file and what to do."""

    __str__ = BusError.__str__


class LockTimeoutError(ClusterHatError, TimeoutError):
    """Another process held a shared lock for longer than the time allowed. The text names the file.
    Retryable."""
